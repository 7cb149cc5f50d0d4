// Densities of training times: their distribution functions, and numbers of peers (tests/parity/schedules.json).
#include "losses/noise_times.h"

#include <cmath>
#include <functional>
#include <numbers>

#include "io/files.h"
#include "io/json.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

const std::string flow = "type = \"rectified_flow\"";

// A step of a batch of which this process has `count` rows from `first` on.
struct Draw {
  TestHost host;
  Model student;
  int64_t first = 0, count, all;
  std::function<Tensor(std::string_view)> brought = {};

  Draw(const std::string& process, int64_t rows)
      : host(process), student(nullptr, host.process(), Parametrisation()), count(rows), all(rows) {}

  Tensor operator()(const std::string& toml, uint64_t seed = 3) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "loss", &host);
    const NoiseTimes density(p);
    p.finish();
    return density.draw({.batch = {at::zeros({count, 1}), {}},
                         .student = student,
                         .target = student,
                         .process = host.process(),
                         .generator = seeded(seed, "times"),
                         .first_row = first,
                         .all_rows = all,
                         .brought = brought});
  }
};

// Kolmogorov and Smirnov's distance of draws from a distribution function.
double distance(const Tensor& draws, const std::function<Tensor(const Tensor&)>& mass) {
  const Tensor wanted = mass(std::get<0>(draws.sort()));
  const Tensor below = at::arange(draws.size(0), at::kDouble) / static_cast<double>(draws.size(0));
  const double gap = 1 / static_cast<double>(draws.size(0));
  return std::max((wanted - below).max().item<double>(), (below + gap - wanted).max().item<double>());
}

Tensor normal_mass(const Tensor& z) { return 0.5 * (1 + (z / std::numbers::sqrt2).erf()); }

}  // namespace

TEST_CASE("the defaults draw what they always did, to the bit") {
  Draw ve("type = \"ve\"", 1000), rf(flow, 1000);
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const Tensor z = at::randn({1000}, seeded(3, "times"), options), u = at::rand({1000}, seeded(3, "times"), options);
  CHECK(at::equal(ve(""), (z * 1.2 + -1.2).exp()));
  CHECK(at::equal(rf("times = \"uniform\"\nt_min = 0.1"), (0.1 + (1 - 0.1) * u) * 1.0));
}

TEST_CASE("densities have their distribution functions, of which stratified draws are one row off at most") {
  const std::string ends = "sigma_min = 0.01\nsigma_max = 50\n";
  const double low = std::log(0.01), high = std::log(50);
  const auto student = [](const Tensor& x) { return 0.5 * (1 + x / (x * x + 2).sqrt()); };  // of two degrees
  const auto share = [](const Tensor& x, double from, double to) { return (x - from) / (to - from); };
  struct Case {
    std::string process, toml;
    std::function<Tensor(const Tensor&)> mass;
  };
  const std::vector<Case> cases = {
      {"type = \"ve\"", "log_sigma_mean = 0.4\nlog_sigma_std = 1.7",
       [&](const Tensor& s) { return normal_mass((s.log() - 0.4) / 1.7); }},
      {flow, "times = \"uniform\"\nt_min = 0.1\nt_max = 0.7", [&](const Tensor& t) { return share(t, 0.1, 0.7); }},
      {flow, "times = \"uniform\"\nt_min = 0\nshift = 3", [&](const Tensor& t) { return t / (3 - 2 * t); }},
      {"type = \"vp_scaled_linear\"", "times = \"logit_normal\"\nlogit_mean = -0.5\nlogit_std = 0.8",
       [&](const Tensor& t) { return normal_mass((at::logit(t / 1000) + 0.5) / 0.8); }},
      {"type = \"ve\"", ends + "times = \"log_uniform\"", [&](const Tensor& s) { return share(s.log(), low, high); }},
      {"type = \"ve\"", ends + "times = \"karras\"\nrho = 3",
       [&](const Tensor& s) { return share(s.pow(1 / 3.0), std::cbrt(0.01), std::cbrt(50)); }},
      {"type = \"ve\"", ends + "times = \"v_diffusion\"\nsigma_data = 0.5",
       [&](const Tensor& s) { return share((s / 0.5).atan(), std::atan(0.02), std::atan(100)); }},
      {"type = \"ve\"", ends + "times = \"cosine_interpolated\"\nnoise_d_low = 32\nnoise_d_high = 32",
       [&](const Tensor& s) { return share((s / 2).atan(), std::atan(0.005), std::atan(25)); }},
      {"type = \"ve\"", ends + "times = \"log_student_t\"\nlog_sigma_mean = -1\nlog_sigma_std = 1.5\nfreedom = 2",
       [&](const Tensor& s) {
         const Tensor edge = student((times({low, high}) + 1) / 1.5);
         return share(student((s.log() + 1) / 1.5), edge[0].item<double>(), edge[1].item<double>());
       }},
  };
  constexpr int64_t rows = 40000;
  for (const Case& c : cases) {
    CAPTURE(c.toml);
    Draw draw(c.process, rows);
    const Tensor drawn = draw(c.toml);
    CHECK(at::equal(drawn, draw(c.toml)));
    CHECK(distance(drawn, c.mass) < 1.63 / std::sqrt(rows));  // 99 of 100 samples are nearer
    CHECK(distance(draw(c.toml + "\nstratified = true"), c.mass) < 1.0001 / rows);
  }
}

TEST_CASE("densities of uniform and normal numbers are their peers'") {
  const Json file = Json::parse(read_text(source_dir() + "/tests/parity/schedules.json"));
  int64_t held = 0;
  for (const Json& c : file["cases"]) {
    if (!c.contains("density")) {
      continue;
    }
    CAPTURE(c["name"].get<std::string>());
    const auto numbers = [&](const char* key) { return times(c[key].get<std::vector<double>>()); };
    Draw draw(write_toml(from_json(c["process"], "")), 8);
    draw.brought = [&](std::string_view kind) { return numbers(std::string(kind).c_str()); };
    const Tensor found = draw(write_toml(from_json(c["density"], "")));
    const Tensor wanted = numbers(c.contains("levels") ? "levels" : "times");
    CHECK(most(found / wanted - 1) < 1e-12);
    ++held;
  }
  CHECK(held == 9);
}

TEST_CASE("on a rectified flow lognormal levels are logit-normal times") {
  Draw draw(flow, 500);
  CHECK(most(draw("log_sigma_mean = 0.3\nlog_sigma_std = 0.9") -
             draw("times = \"logit_normal\"\nlogit_mean = 0.3\nlogit_std = 0.9")) < 1e-15);
}

TEST_CASE("processes that share a batch draw its times") {
  for (const char* toml : {"stratified = true", "times = \"v_diffusion\"\nstratified = true", "times = \"uniform\""}) {
    Draw whole("type = \"ve\"", 10), part("type = \"ve\"", 10);
    part.first = 6;
    part.count = 4;
    CHECK(at::equal(part(toml), whole(toml).narrow(0, 6, 4)));
  }
}

TEST_CASE("a uniform number of 0 or nearly 1 has a finite time") {
  for (const char* toml :
       {"stratified = true", "times = \"log_student_t\"\nfreedom = 1e6", "times = \"v_diffusion\""}) {
    Draw draw("type = \"ve\"", 2);
    draw.brought = [](std::string_view) { return times({0, 1 - 0x1p-53}); };
    const Tensor t = draw(toml);
    CHECK((t.isfinite() & (t > 0)).all().item<bool>());
  }
}

TEST_CASE("a density refuses the keys of others, and ends upside down") {
  Draw draw("type = \"ve\"", 2);
  CHECK(contains(request_error([&] { draw("sigma_max = 9"); }), "sigma_max"));
  CHECK(
      contains(request_error([&] { draw("times = \"uniform\"\nt_min = 0.5\nt_max = 0.2"); }), "t_min: is above t_max"));
  CHECK(contains(request_error([&] { draw("times = \"log_uniform\"\nsigma_min = 9\nsigma_max = 1"); }),
                 "sigma_min: is not below sigma_max"));
}
