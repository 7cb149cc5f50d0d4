#include <cmath>
#include <fstream>

#include "io/json.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// The slope of the RMS error against the number of steps, between two refinements.
double measured_order(TestHost& host, const std::string& name, const std::string& toml, double from, double to) {
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>(name, toml);
  const auto reference = host.make_plugin<Solver>("rk45", "rtol = 1e-12\natol = 1e-12");
  const Process& p = host.process();
  const Tensor x =
      normal({64, 1}, 1) *
      rows(at::hypot(p.alpha(times({from})), p.sigma(times({from}))), at::zeros({1, 1}, at::kDouble)).item<double>();
  const Tensor exact = solve(Ode(*teacher), *reference, times({from, to}), x);
  const auto error = [&](int64_t steps) {
    const Tensor levels = at::linspace(std::log(p.noise_level(times({from}))[0].item<double>()),
                                       std::log(p.noise_level(times({to}))[0].item<double>()), steps + 1, at::kDouble)
                              .exp();
    return rms(solve(Ode(*teacher), *solver, p.time_of_noise_level(levels), x) - exact);
  };
  return std::log2(error(160) / error(320));
}

}  // namespace

TEST_CASE("solvers converge at the order that they declare") {
  struct Case {
    const char* name;
    const char* toml;
    double order;
  };
  const Case cases[] = {{"euler", "", 1},
                        {"ddim", "", 1},
                        {"heun", "", 2},
                        {"heun", "variable = \"time\"", 2},
                        {"dpm_solver", "order = 1", 1},
                        {"dpm_solver", "order = 2", 2},
                        {"dpm_solver", "order = 3", 3},
                        {"dpmpp_2m", "", 2}};
  for (const Case& c : cases) {
    CAPTURE(std::string(c.name));
    CAPTURE(std::string(c.toml));
    TestHost ve;
    TestHost vp("type = \"vp_linear\"");
    CHECK(ve.make_plugin<Solver>(c.name, c.toml)->order() == c.order);
    CHECK(measured_order(ve, c.name, c.toml, 10, 0.05) == doctest::Approx(c.order).epsilon(0.15 / c.order));
    CHECK(measured_order(vp, c.name, c.toml, 1.0, 0.01) == doctest::Approx(c.order).epsilon(0.15 / c.order));
  }
}

TEST_CASE("rk45 meets its tolerance on a Gaussian, whose flow map is known") {
  for (const char* process :
       {"type = \"ve\"", "type = \"vp_linear\"", "type = \"vp_cosine\"", "type = \"rectified_flow\""}) {
    TestHost host(process);
    CAPTURE(std::string(process));
    const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", "means = [[0.5, -0.3]]\nstds = [[0.4, 0.9]]");
    const Process& p = host.process();
    const double from = p.t_max() * (p.type() == Process::Type::ve ? 0.25 : 1);
    const Tensor t = times({from}), s = times({0});
    const Tensor x = normal({32, 2}, 2) * p.sigma(t).item<double>();
    const Tensor mean = at::tensor({0.5, -0.3}, at::kDouble), variance = at::tensor({0.16, 0.81}, at::kDouble);
    // x_s = alpha_s mu + sqrt(var_s / var_t) (x_t - alpha_t mu), component by component
    const Tensor var_t = p.alpha(t).square() * variance + p.sigma(t).square();
    const Tensor exact = mean + (variance / var_t).sqrt() * (x - p.alpha(t) * mean);
    const auto solver = host.make_plugin<Solver>("rk45", "rtol = 1e-10\natol = 1e-10");
    CHECK(most(solve(Ode(*teacher), *solver, times({from, 0}), x) - exact) < 1e-7);
  }
}

TEST_CASE("evaluations per step are as declared") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor grid = times({10, 5, 2, 1, 0.5});
  for (const auto& [name, toml] : {std::pair("euler", ""), std::pair("ddim", ""), std::pair("heun", ""),
                                   std::pair("dpm_solver", "order = 3"), std::pair("dpmpp_2m", "")}) {
    const auto solver = host.make_plugin<Solver>(name, toml);
    const Ode ode(*teacher);
    solve(ode, *solver, grid, normal({3, 1}));
    CHECK(ode.evaluations() == 3 * 4 * solver->evaluations());
  }
}

TEST_CASE("every solver leaves alpha = 0 and reaches sigma = 0 with finite states, in float32 too") {
  TestHost host("type = \"rectified_flow\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  for (const char* name : {"euler", "ddim", "heun", "dpm_solver", "dpmpp_2m", "rk45"}) {
    CAPTURE(std::string(name));
    const auto solver = host.make_plugin<Solver>(name);
    for (const auto dtype : {at::kDouble, at::kFloat}) {
      const Tensor end =
          solve(Ode(*teacher), *solver, at::linspace(1, 0, 21, at::kDouble), normal({8, 1}, 3).to(dtype));
      CHECK(end.isfinite().all().item<bool>());
      CHECK((end.scalar_type() == dtype));
    }
  }
}

TEST_CASE("on a variance-exploding process euler and ddim are one method") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor x = normal({8, 1}) * 10;
  const Tensor grid = times({10, 3, 1, 0.2, 0});
  const Tensor a = solve(Ode(*teacher), *host.make_plugin<Solver>("euler"), grid, x);
  const Tensor b = solve(Ode(*teacher), *host.make_plugin<Solver>("ddim"), grid, x);
  CHECK(most(a - b) < 1e-13);
}

TEST_CASE("solvers reproduce their peers' numbers (tests/parity)") {
  std::ifstream file(source_dir() + "/tests/parity/solvers.json");
  REQUIRE(file);
  const Json fixtures = Json::parse(file);
  REQUIRE(fixtures["cases"].size() >= 15);
  for (const Json& c : fixtures["cases"]) {
    const auto case_name = c["name"].get<std::string>();
    CAPTURE(case_name);
    const auto toml = [](const Json& json) { return write_toml(from_json(json, "solvers.json")); };
    TestHost host(toml(c["process"]));
    const auto teacher =
        host.make_plugin<Teacher>("gaussian_mixture", toml(fixtures["teachers"][c["teacher"].get<std::string>()]));
    Json keys = c["solver"];
    const auto name = keys["type"].get<std::string>();
    keys.erase("type");
    const auto solver = host.make_plugin<Solver>(name, toml(keys));
    const auto table = [](const Json& json) {
      std::vector<Tensor> lines;
      for (const Json& line : json) {
        lines.push_back(at::tensor(line.get<std::vector<double>>(), at::kDouble));
      }
      return at::stack(lines);
    };
    const Tensor start = c.contains("start_times") ? times(c["start_times"].get<std::vector<double>>()) : Tensor();
    const Tensor end =
        solve(Ode(*teacher), *solver, times(c["times"].get<std::vector<double>>()), table(c["start"]), start);
    CHECK(most(end - table(c["end"])) < c["tolerance"].get<double>());
  }
}
