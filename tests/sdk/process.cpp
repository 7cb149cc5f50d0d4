#include <fstream>

#include "io/json.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {
const char* const all[] = {"type = \"ve\"", "type = \"vp_linear\"", "type = \"vp_scaled_linear\"",
                           "type = \"vp_cosine\"", "type = \"rectified_flow\""};

Process make(const std::string& toml) {
  const Value table = parse_toml(toml, "test.toml");
  Params p(table, "process", nullptr);
  return Process(p);
}
}  // namespace

TEST_CASE("time inverts lambda and noise level on every process") {
  for (const char* toml : all) {
    const Process p = make(toml);
    CAPTURE(toml);
    const Tensor t = at::linspace(0.03, 0.97, 50, at::kDouble) * p.t_max();
    CHECK(most(p.time(p.lambda(t)) - t) < 1e-9 * p.t_max());
    CHECK(most(p.time_of_noise_level(p.noise_level(t)) - t) < 1e-9 * p.t_max());
    CHECK(most(p.noise_level(t).log() + p.lambda(t)) < 1e-9);
  }
}

TEST_CASE("derivatives agree with finite differences") {
  for (const char* toml : {all[0], all[1], all[3], all[4]}) {
    const Process p = make(toml);
    CAPTURE(toml);
    const Tensor t = at::linspace(0.05, 0.95, 30, at::kDouble) * p.t_max();
    const double h = 1e-6;
    CHECK(most((p.alpha(t + h) - p.alpha(t - h)) / (2 * h) - p.d_alpha(t)) < 1e-6);
    CHECK(most((p.sigma(t + h) - p.sigma(t - h)) / (2 * h) - p.d_sigma(t)) < 1e-6);
  }
}

TEST_CASE("variance-preserving processes preserve variance") {
  for (const char* toml : {all[1], all[2], all[3]}) {
    const Process p = make(toml);
    const Tensor t = at::linspace(0, 1, 40, at::kDouble) * p.t_max();
    CHECK(most(p.alpha(t).square() + p.sigma(t).square() - 1) < 1e-14);
  }
}

TEST_CASE("scaled linear: the discrete table of Stable Diffusion, counted from 1") {
  const Process p = make(all[2]);
  double product = 1;
  for (int i = 0; i < 1000; ++i) {
    const double root = std::sqrt(0.00085) + i * (std::sqrt(0.012) - std::sqrt(0.00085)) / 999;
    product *= 1 - root * root;
  }
  CHECK(p.alpha(times({1000}))[0].item<double>() == doctest::Approx(std::sqrt(product)).epsilon(1e-12));
  CHECK(p.alpha(times({1}))[0].item<double>() == doctest::Approx(std::sqrt(1 - 0.00085)).epsilon(1e-14));
  CHECK(p.sigma(times({0}))[0].item<double>() == 0);
}

TEST_CASE("parametrisations convert into each other without loss") {
  for (const char* toml : all) {
    const Process p = make(toml);
    CAPTURE(toml);
    const Tensor t = at::linspace(0.05, 0.9, 20, at::kDouble) * p.t_max();
    const Tensor data = normal({20, 3}, 1);
    const Tensor noise = normal({20, 3}, 2);
    const Tensor x = p.add_noise(data, noise, t);
    for (const Predicts predicts : {Predicts::noise, Predicts::v, Predicts::data, Predicts::edm, Predicts::flow}) {
      if (predicts == Predicts::flow && p.steps() > 0) {
        continue;  // its drift is the discrete one, which is not the derivative of its alpha
      }
      const Parametrisation form(predicts, 0.5);
      CAPTURE(form.name());
      const Tensor output = form.target(p, t, data, noise);
      CHECK(most(form.to_data(p, t)(x, output) - data) < 1e-9);
      CHECK(most(form.to_noise(p, t)(x, output) - noise) < 1e-9);
    }
  }
}

TEST_CASE("EDM's parametrisation is Karras et al.'s table 1") {
  const Process p;
  const double sigma = 3.7, sd = 0.5;
  const Tensor t = times({sigma});
  const Linear d = Parametrisation(Predicts::edm, sd).to_data(p, t);
  CHECK(d.a[0].item<double>() == doctest::Approx(sd * sd / (sigma * sigma + sd * sd)));
  CHECK(d.b[0].item<double>() == doctest::Approx(sigma * sd / std::sqrt(sigma * sigma + sd * sd)));
  CHECK(Parametrisation(Predicts::edm, sd).input_scale(p, t)[0].item<double>() ==
        doctest::Approx(1 / std::sqrt(sigma * sigma + sd * sd)));
  CHECK(Parametrisation(Predicts::edm, sd).noise_label(p, t)[0].item<double>() == doctest::Approx(std::log(sigma) / 4));
}

TEST_CASE("predictions stay finite where alpha is 0 and where sigma is 0") {
  const Process p = make(all[4]);
  for (const Predicts predicts : {Predicts::v, Predicts::data, Predicts::edm, Predicts::flow}) {
    const Linear d = Parametrisation(predicts, 0.5).to_data(p, times({1, 0}));
    CHECK(d.a.isfinite().all().item<bool>());
    CHECK(d.b.isfinite().all().item<bool>());
  }
}

TEST_CASE("the scaled-linear table is diffusers' (tests/parity)") {
  std::ifstream file(source_dir() + "/tests/parity/processes.json");
  REQUIRE(file);
  const Json fixtures = Json::parse(file);
  int checked = 0;
  for (const Json& c : fixtures["cases"]) {
    if (c["name"] != "scaled_linear, 1000 steps") {
      continue;
    }
    ++checked;
    const Process p = make("type = \"vp_scaled_linear\"\nbeta_min = " + c["config"]["beta_start"].dump() +
                           "\nbeta_max = " + c["config"]["beta_end"].dump());
    const Tensor t = times(c["times"].get<std::vector<double>>());
    CHECK(most(p.alpha(t) - times(c["alpha"].get<std::vector<double>>())) < 1e-12);
    CHECK(most(p.sigma(t) - times(c["sigma"].get<std::vector<double>>())) < 1e-12);
  }
  CHECK(checked == 1);
}
