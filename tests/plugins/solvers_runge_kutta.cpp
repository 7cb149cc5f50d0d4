#include <cmath>

#include "retort/runge_kutta.h"
#include "support/solvers.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::string of(const std::string& name, const std::string& more = "") { return "tableau = \"" + name + "\"\n" + more; }

double measured(const std::string& process, const std::string& toml, double from, double to, int64_t steps) {
  TestHost host(process);
  return measured_order(host, "runge_kutta", toml, from, to, log_grid, steps);
}

}  // namespace

TEST_CASE("each tableau converges at its order, in the coordinate that it steps in") {
  for (const std::string& name : tableau_names()) {
    CAPTURE(name);
    TestHost host;
    const int order = host.make_plugin<Solver>("runge_kutta", of(name))->order();
    CHECK(order == tableau(name).order);
    // High orders need few steps: the fine solve that they are held against is exact to 1e-12 alone.
    const int64_t steps = order <= 2 ? 160 : order <= 4 ? 60 : order <= 6 ? 32 : 12;
    const double slope =
        measured("", of(name, tableau(name).exponential() ? "" : "coordinate = \"lambda\""), 10, 0.05, steps);
    CAPTURE(slope);
    CHECK(slope > order - 0.15);
  }
}

TEST_CASE("a tableau keeps its order in every coordinate, on every process, and from either prediction") {
  for (const char* name : {"ralston_3", "rk4"}) {
    for (const char* coordinate : {"time", "sigma", "lambda", "angle"}) {
      CAPTURE(std::string(name));
      CAPTURE(std::string(coordinate));
      const std::string toml = of(name, "coordinate = \"" + std::string(coordinate) + "\"");
      const int order = tableau(name).order;
      CHECK(measured("type = \"ve\"", toml, 10, 0.05, 160) == doctest::Approx(order).epsilon(0.15 / order));
      CHECK(measured("type = \"vp_linear\"", toml, 1, 0.01, 160) == doctest::Approx(order).epsilon(0.15 / order));
    }
  }
  for (const char* name : {"res_2s", "res_3s", "krogstad_4"}) {
    for (const char* formulation : {"data", "noise"}) {
      CAPTURE(std::string(name));
      CAPTURE(std::string(formulation));
      const std::string toml = of(name, "formulation = \"" + std::string(formulation) + "\"");
      const int order = tableau(name).order;
      CHECK(measured("type = \"rectified_flow\"", toml, 0.9, 0.05, 80) == doctest::Approx(order).epsilon(0.15 / order));
    }
  }
}

TEST_CASE("the named solvers are tableaux: heun, midpoint, ralston, rk4, ddim, and DPM-Solver's from noise") {
  for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
    TestHost host(process);
    const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
    const Process& p = host.process();
    const Tensor grid = p.time_of_noise_level(log_grid(10, 0.05, 7)), x = normal({8, 1}) * p.sigma(grid[0]);
    const auto end = [&](const char* name, const std::string& toml) {
      return solve(Ode(*teacher), *host.make_plugin<Solver>(name, toml), grid, x);
    };
    for (const char* name : {"heun", "midpoint", "ralston", "rk4"}) {
      CHECK(most(end(name, "") - end("runge_kutta", of(name))) == 0);
    }
    CHECK(most(end("ddim", "") - end("runge_kutta", of("exponential_euler"))) < 1e-12);
    CHECK(most(end("ddim", "") - end("runge_kutta", of("exponential_euler", "formulation = \"noise\""))) < 1e-12);
    CHECK(most(end("dpm_solver", "order = 2") - end("runge_kutta", of("dpmpp_2s", "formulation = \"noise\""))) < 1e-12);
    CHECK(most(end("dpm_solver", "order = 3") - end("runge_kutta", of("dpmpp_3s", "formulation = \"noise\""))) < 1e-12);
  }
}

TEST_CASE("a tableau of one's own in TOML is the one that comes along") {
  TestHost host("type = \"vp_linear\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor grid = times({1, 0.7, 0.3, 0.1}), x = normal({8, 1});
  const auto end = [&](const std::string& toml) {
    return solve(Ode(*teacher), *host.make_plugin<Solver>("runge_kutta", toml), grid, x);
  };
  CHECK(most(end("a = [\"\", \"1/2\", \"0, 3/4\"]\nb = \"2/9, 1/3, 4/9\"") - end(of("ralston_3"))) == 0);
  CHECK(most(end("a = [\"\", \"*\"]\nb = \"*, phi2/c2\"\nc = \"0, 1/2\"") - end(of("res_2s"))) == 0);
}

TEST_CASE("adaptive pairs meet their tolerance, and the smaller it is the nearer") {
  TestHost host("type = \"rectified_flow\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor x = normal({64, 1}, 2), grid = times({1, 0});
  const Tensor exact = solve(Ode(*teacher), *host.make_plugin<Solver>("rk45", "rtol = 1e-11\natol = 1e-11"), grid, x);
  for (const char* name : {"bogacki_shampine_3", "merson_4", "cash_karp_5", "tsitouras_5", "dormand_prince_8"}) {
    CAPTURE(std::string(name));
    double before = 1;
    for (const char* tolerance : {"1e-3", "1e-5", "1e-7"}) {
      const auto solver = host.make_plugin<Solver>(
          "runge_kutta", of(name, "adaptive = true\nrtol = " + std::string(tolerance) + "\natol = " + tolerance));
      CHECK(solver->evaluations() == 0);
      const double error = rms(solve(Ode(*teacher), *solver, grid, x) - exact);
      CHECK(error < 60 * std::stod(tolerance));
      CHECK(error < before);
      before = error;
    }
  }
}

TEST_CASE("what makes no method is refused, with what was expected") {
  const auto refusal = [](const std::string& toml) -> std::string {
    TestHost host;
    try {
      host.make_plugin<Solver>("runge_kutta", toml);
    } catch (const RequestError& e) {
      return e.what();
    }
    return "";
  };
  const auto says = [&](const std::string& toml, const char* part) {
    CAPTURE(toml);
    const std::string said = refusal(toml);
    CAPTURE(said);
    CHECK(said.find(part) != std::string::npos);
  };
  says(of("rk5"), "rk4");
  says("a = [\"\", \"1\"]\nb = \"1/2, 1/3\"", "of order 0");
  says("a = [\"\", \"1 +\"]\nb = \"1/2, 1/2\"", "a, row 2: '1 +', place 4");
  says("b = \"1\"", "the key a beside it");
  says("tableau = \"rk4\"\na = [\"\"]\nb = \"1\"", "one or the other");
  says(of("rk4", "adaptive = true"), "none within");
  says(of("res_2s", "coordinate = \"angle\""), "steps in lambda");
  says(of("res_2s", "lawson = true"), "exponential already");
  says(of("rk4", "formulation = \"noise\""), "no such key");
  says(of("rk4", "iterations = 2"), "explicit");
  says("a = [\"phi1\"]\nb = \"phi1\"\nc = \"1\"", "implicit and exponential");
}
