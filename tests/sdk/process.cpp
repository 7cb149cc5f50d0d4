#include <fstream>
#include <numbers>

#include "io/json.h"
#include "retort/model.h"
#include "retort/ode.h"
#include "retort/solver.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {
const char* const all[] = {"type = \"ve\"",
                           "type = \"vp_linear\"",
                           "type = \"vp_scaled_linear\"",
                           "type = \"vp_cosine\"",
                           "type = \"rectified_flow\"",
                           "type = \"trigonometric\"",
                           "type = \"betas\"\nbeta_schedule = \"squaredcos_cap_v2\"\nrescale_betas_zero_snr = true",
                           "type = \"alphas_cumprod\"\nalphas_cumprod = [0.99, 0.8, 0.4, 0.1, 0.0]"};

Process make(const std::string& toml) {
  const Value table = parse_toml(toml, "test.toml");
  Params p(table, "process", nullptr);
  Process out(p);
  p.finish();
  return out;
}

// As it is read again from what it says of itself.
Process again(const Process& process) {
  const Value table = process.to_value();
  Params p(table, "process", nullptr);
  return Process(p);
}

double number(const Tensor& t) { return t.item<double>(); }
bool finite(const Tensor& t) { return t.isfinite().all().item<bool>(); }

// alpha = cos^2, sigma = sin of one angle: neither preserves variance nor has any name.
Process::Functions odd() {
  return {.alpha = [](double t) { return std::pow(std::cos(t), 2); },
          .sigma = [](double t) { return std::sin(t); },
          .d_alpha = [](double t) { return -std::sin(2 * t); },
          .d_sigma = [](double t) { return std::cos(t); },
          .time = {},
          .t_max = 1.5,
          .least_drift_time = 0,
          .name = "odd"};
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
  for (const char* toml : {all[0], all[1], all[3], all[4], all[5]}) {
    const Process p = make(toml);
    CAPTURE(toml);
    const Tensor t = at::linspace(0.05, 0.95, 30, at::kDouble) * p.t_max();
    const double h = 1e-6;
    CHECK(most((p.alpha(t + h) - p.alpha(t - h)) / (2 * h) - p.d_alpha(t)) < 1e-6);
    CHECK(most((p.sigma(t + h) - p.sigma(t - h)) / (2 * h) - p.d_sigma(t)) < 1e-6);
  }
}

TEST_CASE("variance-preserving processes preserve variance") {
  for (const char* toml : {all[1], all[2], all[3], all[5], all[6], all[7]}) {
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
  CHECK(Parametrisation(Predicts::edm, sd).c_in(p, t)[0].item<double>() ==
        doctest::Approx(1 / std::sqrt(sigma * sigma + sd * sd)));
  CHECK(Parametrisation(Predicts::edm, sd).c_noise(p, t)[0].item<double>() == doctest::Approx(std::log(sigma) / 4));
}

TEST_CASE("a network sees EDM's scalings, the fraction of the time, or the step of a table") {
  const Tensor steps = times({1000, 999.5, 2, 1, 0.25});
  const Process table = make(all[2]);
  const Parametrisation discrete(Predicts::noise, 0.5, Sees::discrete);
  CHECK(at::equal(discrete.c_noise(table, steps), times({999, 998.5, 1, 0, 0})));
  CHECK(at::equal(discrete.c_in(table, steps), at::ones(5, at::kDouble)));
  const Parametrisation fraction(Predicts::edm, 0.5, Sees::fraction);
  CHECK(at::equal(fraction.c_noise(table, steps), steps / 1000));
  CHECK(at::equal(fraction.c_in(Process(), times({3})), times({1})));
  const Parametrisation edm(Predicts::v, 0.5, Sees::edm);
  const Process vp = make(all[1]);
  const Tensor t = times({0.1, 0.6}), level = vp.noise_level(t);
  CHECK(most(edm.c_noise(vp, t) - level.log() / 4) < 1e-15);
  // c_in multiplies y = x / alpha in the paper, and x here.
  CHECK(most(edm.c_in(vp, t) * vp.alpha(t) - (level.square() + 0.25).rsqrt()) < 1e-14);
  CHECK(contains(request_error([&] { discrete.c_noise(vp, t); }), "process 'vp_linear' has none of"));
}

TEST_CASE("left alone, a network sees what it always saw") {
  const Tensor t = times({0.2, 0.7});
  const Process vp = make(all[1]), ve;
  const auto sees = [](Predicts predicts, const Process& process) {
    return Preconditioning{}.resolved(predicts, process);
  };
  CHECK((sees(Predicts::edm, vp).sees == Sees::edm));
  CHECK((sees(Predicts::v, vp).sees == Sees::fraction));
  CHECK((sees(Predicts::v, ve).sees == Sees::edm));
  const Parametrisation form(Predicts::v, 0.5);
  CHECK(at::equal(form.c_in(ve, t), (1 + t.square()).rsqrt()));  // unit variance, whatever the data's
  CHECK(at::equal(form.c_noise(ve, t), t.log() / 4));
  CHECK(at::equal(form.c_noise(vp, t), t));
}

TEST_CASE("a parametrisation's keys make it again, and say what it sees only where that was chosen") {
  const auto read = [](const std::string& toml) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "student", nullptr);
    return Parametrisation(p);
  };
  const auto written = [](const Parametrisation& form) {
    Value out;
    form.write(out);
    return out.text();
  };
  CHECK(written(read("parametrisation = \"v\"")) == "{ parametrisation = \"v\", sigma_data = 0.5 }");
  const std::string chosen = "parametrisation = \"noise\"\nsigma_data = 1.0\npreconditioning = \"discrete\"\n";
  CHECK(written(read(chosen)) == "{ parametrisation = \"noise\", sigma_data = 1.0, preconditioning = \"discrete\" }");
  const Value table = parse_toml(chosen, "test.toml");
  Params p(table, "student", nullptr);
  CHECK_NOTHROW(read(chosen).check(make(all[2]), p));
  CHECK(contains(request_error([&] { read(chosen).check(make(all[1]), p); }),
                 "test.toml:3: student.preconditioning: \"discrete\" counts the steps of a table"));
  CHECK(contains(request_error([&] { read("preconditioning = \"steps\""); }), "expected one of 'auto', 'edm'"));
}

TEST_CASE("predictions stay finite where alpha is 0 and where sigma is 0") {
  const Process p = make(all[4]);
  for (const Predicts predicts : {Predicts::v, Predicts::data, Predicts::edm, Predicts::flow}) {
    const Linear d = Parametrisation(predicts, 0.5).to_data(p, times({1, 0}));
    CHECK(d.a.isfinite().all().item<bool>());
    CHECK(d.b.isfinite().all().item<bool>());
  }
}

TEST_CASE("tables of betas, their levels and DDIM along them are diffusers' (tests/parity)") {
  std::ifstream file(source_dir() + "/tests/parity/processes.json");
  REQUIRE(file);
  const Json fixtures = Json::parse(file);
  REQUIRE(fixtures["cases"].size() >= 20);
  const auto list = [](const Json& json) { return times(json.get<std::vector<double>>()); };
  const auto column = [](const Json& json) {
    std::vector<double> out;
    for (const Json& row : json) {
      out.push_back(row[0].get<double>());
    }
    return times(out).view({-1, 1});
  };
  for (const Json& c : fixtures["cases"]) {
    const auto name = c["name"].get<std::string>();
    CAPTURE(name);
    Json keys = c["config"];
    keys["type"] = "betas";
    keys.erase("prediction_type");
    if (keys["trained_betas"].is_null()) {
      keys.erase("trained_betas");
    }
    TestHost host(write_toml(from_json(keys, "processes.json")));
    const Process& p = host.process();
    CHECK(p.steps() == c["config"]["num_train_timesteps"].get<int64_t>());
    CHECK(again(p) == p);
    const Tensor t = list(c["times"]);
    CHECK(most(p.alpha(t) - list(c["alpha"])) < 1e-12);
    CHECK(most(p.sigma(t) - list(c["sigma"])) < 1e-12);
    const Json& solved = c["solve"];
    const auto mixture = fixtures["teachers"][solved["teacher"].get<std::string>()];
    const auto teacher =
        host.make_plugin<Teacher>("gaussian_mixture", write_toml(from_json(mixture, "processes.json")));
    const auto solver = host.make_plugin<Solver>(solved["solver"]["type"].get<std::string>());
    const Tensor end = solve(Ode(*teacher), *solver, list(solved["times"]), column(solved["start"]));
    CHECK(most(end - column(solved["end"])) < solved["tolerance"].get<double>());
    // The same numbers as a list of their own.
    const Process listed = Process::from_alphas_cumprod([&] {
      const Tensor squares = p.alpha(at::arange(1, p.steps() + 1, at::kDouble)).square();
      return std::vector<double>(squares.data_ptr<double>(), squares.data_ptr<double>() + squares.numel());
    }());
    CHECK(most(listed.alpha(t) - p.alpha(t)) < 1e-12);
    CHECK(most(listed.sigma(t) - p.sigma(t)) < 1e-12);
  }
}

TEST_CASE("a table that ends at alpha = 0 is finite wherever the mathematics is") {
  for (const char* toml : {all[6], all[7]}) {
    CAPTURE(std::string(toml));
    const Process p = make(toml);
    const double last = p.t_max();
    const Tensor end = times({last});
    CHECK(number(p.alpha(end)) == 0);
    CHECK(number(p.sigma(end)) == 1);
    CHECK(std::isinf(number(p.noise_level(end))));
    CHECK(number(p.lambda(end)) == -std::numeric_limits<double>::infinity());
    CHECK(number(p.time(p.lambda(end))) == last);
    CHECK(number(p.time_of_noise_level(p.noise_level(end))) == last);
    // Over the last step alpha falls evenly, and the derivatives are its own.
    const Tensor t = last - times({0.999, 0.75, 0.5, 0.25, 1e-3, 0});
    const double h = 1e-4, before = number(p.alpha(times({last - 1})));
    CHECK(most(p.alpha(t) - before * (last - t)) < 1e-15);
    CHECK(most(p.time(p.lambda(t)) - t) < 1e-9);
    CHECK(most(p.d_alpha(t) + before) < 1e-15);
    const Tensor inner = t.narrow(0, 1, 4);
    CHECK(most((p.sigma(inner + h) - p.sigma(inner - h)) / (2 * h) - p.d_sigma(inner)) < 1e-6);
    CHECK(number(p.d_sigma(end)) == 0);
    for (const Predicts predicts : {Predicts::v, Predicts::data, Predicts::edm, Predicts::flow}) {
      const Parametrisation form(predicts, 0.5);
      CAPTURE(form.name());
      const Linear data = form.to_data(p, end), noise = form.to_noise(p, end);
      CHECK(finite(at::stack({data.a, data.b, noise.a, noise.b, form.c_in(p, end), form.c_noise(p, end)})));
    }
  }
}

TEST_CASE("every process says the table that makes it again; equal ones are those of one table") {
  std::vector<Process> made;
  for (const char* toml : all) {
    made.push_back(make(toml));
  }
  made.push_back(Process::from_betas({0.1, 0.3, 1.0}));
  made.push_back(make("type = \"betas\"\ntrained_betas = [0.1, 0.3, 0.9]\nrescale_betas_zero_snr = true"));
  made.push_back(make("type = \"betas\"\nnum_train_timesteps = 40\nbeta_end = 1.0"));
  for (size_t i = 0; i < made.size(); ++i) {
    const Process& p = made[i];
    CAPTURE(p.to_value().text());
    const Tensor t = at::linspace(0, 1, 100, at::kDouble) * p.t_max();
    CHECK(again(p).to_value().text() == p.to_value().text());
    CHECK(at::equal(again(p).alpha(t), p.alpha(t)));
    CHECK(at::equal(again(p).sigma(t), p.sigma(t)));
    for (size_t j = 0; j < made.size(); ++j) {
      CHECK((again(p) == made[j]) == (i == j));
    }
  }
  CHECK(Process() == Process::variance_exploding());
  CHECK(make(all[1]) == Process::vp_linear());
  CHECK(make(all[2]) == Process::vp_scaled_linear());
  CHECK(make(all[3]) == Process::vp_cosine());
  CHECK(make(all[4]) == Process::rectified_flow());
  CHECK(make(all[5]) == Process::trigonometric());
  CHECK(number(made.back().alpha(times({40}))) == 0);
}

TEST_CASE("the trigonometric process is cosine and sine, and its time the angle of the noise level") {
  const Process p = Process::trigonometric();
  const double end = std::numbers::pi / 2;
  const Tensor t = at::linspace(0, end, 101, at::kDouble);
  CHECK(p.t_max() == end);
  CHECK(most(p.alpha(t) - t.cos()) < 1e-15);
  CHECK(most(p.sigma(t) - t.sin()) < 1e-15);
  CHECK(most(p.d_alpha(t) + t.sin()) < 1e-15);
  CHECK(most(p.d_sigma(t) - t.cos()) < 1e-15);
  CHECK(most(p.time(p.lambda(t)) - t) < 1e-14);
  CHECK(most(p.time_of_noise_level(p.noise_level(t)) - t) < 1e-14);
  CHECK(number(p.alpha(times({end}))) == 0);  // not 6e-17, the cosine of that number
  CHECK(std::isinf(number(p.noise_level(times({end})))));
}

TEST_CASE("a process of functions is what they say, and its inverse is found") {
  const Process p(odd());
  const Tensor t = at::linspace(0.01, 1.5, 60, at::kDouble);
  CHECK(p.name() == "odd");
  CHECK(p.t_max() == 1.5);
  CHECK(most(p.alpha(t) - t.cos().square()) < 1e-15);
  CHECK(most(p.lambda(t) - (t.cos().square() / t.sin()).log()) < 1e-14);
  CHECK(most(p.time(p.lambda(t)) - t) < 1e-14);
  CHECK(most(p.time_of_noise_level(p.noise_level(t)) - t) < 1e-14);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(at::equal(p.time(times({infinity, -infinity, -100})), times({0, 1.5, 1.5})));
  CHECK(number(p.time(times({800}))) < 1e-50);
  for (const Predicts predicts : {Predicts::noise, Predicts::v, Predicts::data, Predicts::edm, Predicts::flow}) {
    const Parametrisation form(predicts, 0.5);
    const Tensor data = normal({60, 3}, 1), noise = normal({60, 3}, 2);
    const Tensor x = p.add_noise(data, noise, t);
    CHECK(most(form.to_data(p, t)(x, form.target(p, t, data, noise)) - data) < 1e-9);
  }
  const Process copy = p, other(odd());
  CHECK(copy == p);
  CHECK(!(other == p));  // functions cannot be compared
  CHECK(!(p == Process::trigonometric()));
  CHECK(contains(request_error([&] { again(p); }), "process.type: 'odd' is unknown; expected one of 've'"));
  Process::Functions with_time = odd();
  with_time.time = [](double) { return 0.25; };
  CHECK(number(Process(with_time).time(times({0}))) == 0.25);
  Process::Functions lacking = odd();
  lacking.d_sigma = {};
  CHECK(contains(request_error([&] { Process{lacking}; }), "lacks a function"));
}

TEST_CASE("wrong tables are refused with a line") {
  const auto refused = [](const std::string& toml) { return request_error([&] { make(toml); }); };
  const std::string betas = "type = \"betas\"\ntrained_betas = ", squares = "type = \"alphas_cumprod\"\n";
  CHECK(contains(refused(betas + "[0.1, 1.0, 0.5]"), "test.toml:2: process.trained_betas: entry 2 is 1.0; expected"));
  CHECK(contains(refused(betas + "[0.1, -0.2]"), "entry 2 is -0.2"));
  CHECK(contains(refused(betas + "[0.0, 0.2]"), "entry 1 is 0.0"));
  CHECK(contains(refused(betas + "[0.5, 1e-20]"), "entry 2 is 1e-20, too little to change alpha"));
  CHECK(contains(refused(betas + "[0.5]"), "has 1 entry; expected one for each step, 2 or more"));
  CHECK(contains(refused("type = \"betas\"\nbeta_end = 1.5"), "process.beta_end: 1.5 is out of range"));
  CHECK(contains(refused("type = \"betas\"\nnum_train_timesteps = 1"), "process.num_train_timesteps: 1 is out of"));
  CHECK(contains(refused("type = \"betas\"\nbeta_schedule = \"sigmoid\""), "process.beta_schedule: 'sigmoid' is"));
  CHECK(contains(refused("type = \"betas\"\nbeta_min = 0.1"), "unknown key 'process.beta_min'"));
  CHECK(contains(
      refused(squares + "alphas_cumprod = [0.9, 0.9]"),
      "test.toml:2: process.alphas_cumprod: entry 2 is 0.9; expected numbers within 0 to 1 that fall strictly"));
  CHECK(contains(refused(squares + "alphas_cumprod = [1.0, 0.5]"), "entry 1 is 1.0"));
  CHECK(contains(refused(squares + "alphas_cumprod = [0.5, -0.1]"), "entry 2 is -0.1"));
  CHECK(contains(refused(squares), "process.alphas_cumprod: has 0 entries"));
  CHECK(contains(request_error([] { Process::from_betas({2.0, 0.1}); }), "a process's betas: entry 1 is 2.0"));
  CHECK(contains(request_error([] { Process::from_alphas_cumprod({}); }), "alphas_cumprod: has 0 entries"));
}
