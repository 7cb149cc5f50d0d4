// Solvers that reuse the steps before, and DPM-Solver's single steps.
#include "support/solvers.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr const char* fourth = "order = 4";

Tensor solved(TestHost& host, const std::string& name, const std::string& toml, const Tensor& grid, const Tensor& x,
              const Tensor& start = {}) {
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  return solve(Ode(*teacher), *host.make_plugin<Solver>(name, toml), grid, x, start);
}

const Tensor karras_levels = karras_grid(10, 0.05, 9);

}  // namespace

TEST_CASE("multistep and single-step solvers converge at the order that they declare, on grids of three kinds") {
  struct Case {
    const char* name;
    const char* toml;
    int order;
    int uneven_order;  // where steps are long and short in turn
  };
  const Case cases[] = {{"dpmpp_3m", "", 3, 3},
                        {"dpmpp_3m", "d2_factor = 1", 2, 2},
                        {"dpmpp_3m", "second_step = \"dpmpp_2m\"", 3, 3},
                        {"adams_bashforth_norsett", "order = 1", 1, 1},
                        {"adams_bashforth_norsett", "order = 2", 2, 2},
                        {"adams_bashforth_norsett", "", 3, 3},
                        {"adams_bashforth_norsett", fourth, 4, 4},
                        {"deis", "order = 1", 1, 1},
                        {"deis", "order = 2", 2, 2},
                        {"deis", "", 3, 3},
                        {"deis", "variable = \"rho\"", 3, 3},
                        {"deis", fourth, 4, 4},
                        {"lms", "order = 2", 2, 2},
                        {"lms", "order = 3", 3, 3},
                        {"lms", fourth, 4, 4},
                        {"ipndm", "", 2, 1},
                        {"ipndm", "order = 2", 2, 1},
                        {"ipndm_v", "order = 3", 3, 3},
                        {"plms", "", 2, 1},
                        {"res_2m", "", 2, 2},
                        {"res_3m", "", 3, 3},
                        {"res_3m", "gamma = \"res4lyf\"", 2, 2},
                        {"gradient_estimation", "", 1, 1},
                        {"gradient_estimation", "gamma = 1.5", 2, 1},
                        {"dpm_solver", "order = 2\nr1 = 0.3", 2, 2},
                        {"dpm_solver", "order = 3\nr1 = 0.5", 3, 3},
                        {"dpm_solver", "order = 3\nr2 = 0.9", 2, 2},
                        {"dpmpp_2s", "", 2, 2},
                        {"dpmpp_2s", "r1 = 0.8", 2, 2},
                        {"dpmpp_3s", "", 3, 3},
                        {"dpmpp_3s", "r2 = 0.9", 2, 2}};
  TestHost ve, vp("type = \"vp_linear\"");
  for (const Case& c : cases) {
    const std::string text = std::string(c.name) + " " + c.toml;
    CAPTURE(text);
    CHECK(ve.make_plugin<Solver>(c.name, c.toml)->order() == c.order);
    const int64_t steps = c.order == 4 ? 320 : 160;
    const double o[] = {measured_order(ve, c.name, c.toml, 10, 0.05, log_grid, steps),
                        measured_order(vp, c.name, c.toml, 1.0, 0.01, log_grid, steps),
                        measured_order(ve, c.name, c.toml, 10, 0.05, karras_grid, steps),
                        measured_order(ve, c.name, c.toml, 10, 0.05, uneven_grid, steps)};
    for (int i = 0; i < 3; ++i) {
      CAPTURE(i);
      CHECK(o[i] == doctest::Approx(c.order).epsilon(0.15 / c.order));
    }
    CHECK(o[3] == doctest::Approx(c.uneven_order).epsilon(0.15 / c.uneven_order));
  }
}

TEST_CASE("multistep and single-step solvers reproduce their peers' numbers (tests/parity)") {
  reproduce("multistep.json", 48);
}

TEST_CASE("a start by DDIM costs a method of third order its order") {
  TestHost host;
  const auto error = [&](const char* toml) {
    const Tensor x = normal({64, 1}, 1);
    // From a level at which the prediction already moves, so that the start counts.
    return rms(solved(host, "adams_bashforth_norsett", toml, log_grid(1, 0.05, 320), x) -
               solved(host, "rk45", "rtol = 1e-12\natol = 1e-12", times({1, 0.05}), x));
  };
  const double ddim = error("start = \"ddim\""), corrected = error("");
  CHECK(ddim > 10 * corrected);
}

TEST_CASE("a full start costs no evaluation, and two at order 4") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto cost = [&](const char* name, const char* toml, int64_t steps) {
    const Ode ode(*teacher);
    solve(ode, *host.make_plugin<Solver>(name, toml), log_grid(10, 0.1, steps), normal({3, 1}));
    return ode.evaluations() / 3;
  };
  for (const char* name : {"dpmpp_3m", "adams_bashforth_norsett", "deis", "lms", "ipndm", "ipndm_v", "plms", "res_2m",
                           "res_3m", "gradient_estimation"}) {
    CAPTURE(std::string(name));
    CHECK(cost(name, "", 7) == 7);
    CHECK(cost(name, "", 1) == 1);
  }
  CHECK(cost("lms", fourth, 7) == 9);
  CHECK(cost("plms", "start = \"improved_euler\"", 7) == 8);
  CHECK(cost("dpmpp_2s", "", 7) == 14);
  CHECK(cost("dpmpp_3s", "", 7) == 21);
}

TEST_CASE("multistep and single-step solvers leave alpha = 0 and reach sigma = 0 with finite states, in float32 too") {
  TestHost host("type = \"rectified_flow\"");
  for (const char* name : {"dpmpp_3m", "adams_bashforth_norsett", "deis", "lms", "ipndm", "ipndm_v", "plms", "res_2m",
                           "res_3m", "gradient_estimation", "dpmpp_2s", "dpmpp_3s", "dpm_solver", "dpm_adaptive"}) {
    CAPTURE(std::string(name));
    const Tensor grid = at::linspace(1, 0, 21, at::kDouble), x = normal({8, 1}, 3);
    const Tensor fine = solved(host, name, "", grid, x), coarse = solved(host, name, "", grid, x.to(at::kFloat));
    CHECK(fine.isfinite().all().item<bool>());
    CHECK((coarse.scalar_type() == at::kFloat));
    CHECK(most(fine - coarse) < 1e-3);
  }
}

TEST_CASE("a row that joins late takes the steps that it takes alone, whatever its start") {
  TestHost host("type = \"vp_linear\"");
  const Tensor grid = at::linspace(1, 0, 13, at::kDouble), x = normal({5, 1}, 4),
               start = times({0.3, 1, 0.9, 0.95, 0.6});
  for (const auto& [name, toml] : {std::pair("lms", fourth), std::pair("deis", fourth), std::pair("plms", ""),
                                   std::pair("dpmpp_3m", ""), std::pair("dpm_adaptive", "")}) {
    CAPTURE(std::string(name));
    const Tensor together = solved(host, name, toml, grid, x, start);
    for (int64_t i = 0; i < 5; ++i) {
      const Tensor alone = solved(host, name, toml, grid, x.narrow(0, i, 1), start.narrow(0, i, 1));
      CHECK(most(together.narrow(0, i, 1) - alone) < 1e-12);
    }
  }
}

TEST_CASE("methods of several names agree where they are one method") {
  TestHost host;
  const Tensor x = normal({8, 1}) * 10;
  const auto differ = [&](const char* a, const char* keys_a, const char* b, const char* keys_b, const Tensor& grid) {
    return most(solved(host, a, keys_a, grid, x) - solved(host, b, keys_b, grid, x));
  };
  // The third order of DPM-Solver++ with the whole second derivative is the exponential method of Adams.
  CHECK(differ("dpmpp_3m", "", "adams_bashforth_norsett", "order = 3", karras_levels) < 1e-12);
  CHECK(differ("dpmpp_3m", "d2_factor = 1", "adams_bashforth_norsett", "order = 3", karras_levels) > 1e-4);
  CHECK(differ("res_2m", "", "adams_bashforth_norsett", "order = 2", karras_levels) < 1e-12);
  CHECK(differ("lms", "order = 3", "deis", "order = 3\nvariable = \"rho\"", karras_levels) < 1e-12);
  CHECK(differ("lms", "", "ipndm_v", "", karras_levels) == 0);
  const Tensor even = at::linspace(10, 0.5, 13, at::kDouble);
  CHECK(differ("ipndm", "order = 3", "lms", "start = \"ddim\"", even) < 1e-12);
  CHECK(differ("ipndm", "order = 3", "lms", "start = \"ddim\"", karras_levels) > 1e-4);
  CHECK(differ("gradient_estimation", "gamma = 1.5", "ipndm", "order = 2", karras_levels) < 1e-12);
  CHECK(differ("deis", "order = 1", "ddim", "", karras_levels) < 1e-12);
}

TEST_CASE("gradient estimation is its formula, and DDIM's step into sigma = 0") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Ode ode(*teacher);
  const double levels[] = {10, 4, 1.5, 0.5, 0.2, 0};
  const Tensor start = normal({8, 1}, 6) * 10;
  Tensor x = start, before;
  for (int i = 0; i < 5; ++i) {
    const Tensor slope = (x - ode.data(x, at::full({8}, levels[i], at::kDouble))) / levels[i];
    const Tensor along = i == 0 || i == 4 ? slope : 1.8 * slope - 0.8 * before;
    x = x + (levels[i + 1] - levels[i]) * along;
    before = slope;
  }
  CHECK(most(solved(host, "gradient_estimation", "gamma = 1.8", times({10, 4, 1.5, 0.5, 0.2, 0}), start) - x) < 1e-12);
}

TEST_CASE("dpm_adaptive's error follows its tolerance, and each row takes steps of its own") {
  for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
    TestHost host(process);
    const Process& p = host.process();
    const Tensor ends = p.time_of_noise_level(times({10, 0.05}));
    const Tensor x = normal({32, 1}, 5) * at::hypot(p.alpha(ends[0]), p.sigma(ends[0])).item<double>();
    const Tensor exact = solved(host, "rk45", "rtol = 1e-12\natol = 1e-12", ends, x);
    for (const char* order : {"order = 2", "order = 3"}) {
      const auto error = [&](const char* toml) {
        return rms(solved(host, "dpm_adaptive", std::string(order) + toml, ends, x) - exact);
      };
      const double loose = error(""), tight = error("\nrtol = 1e-5\natol = 1e-6");
      CHECK(loose < 0.05);
      CHECK(tight < 1e-4);
      CHECK(tight < loose / 50);
    }
  }
}

TEST_CASE("parameters that make no method are refused") {
  TestHost host;
  const auto refusal = [&](const char* name, const char* toml) {
    return request_error([&] { host.make_plugin<Solver>(name, toml); });
  };
  CHECK(contains(refusal("dpmpp_3s", "r1 = 0.7"), "expected r1 < r2"));
  CHECK(contains(refusal("dpm_solver", "order = 3\nr2 = 0.2"), "expected r1 < r2"));
  CHECK(contains(refusal("lms", "order = 5"), "order"));
  CHECK(contains(refusal("dpmpp_3m", "start = \"singlestep\""), "start"));
  CHECK(contains(refusal("gradient_estimation", "gamma = 0.5"), "gamma"));
}
