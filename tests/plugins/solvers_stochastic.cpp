#include <cmath>

#include "support/solvers.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

struct Solves {
  const char *name, *toml;
};

// Two solvers that are one.
struct Pair {
  const char *name, *toml, *other, *other_toml;
};

}  // namespace

TEST_CASE("stochastic solvers reproduce their peers' numbers under the same noise (tests/parity)") {
  reproduce("stochastic.json", 90);
}

TEST_CASE("without noise, stochastic solvers are those of the ODE") {
  const Pair pairs[] = {
      {"dpmpp_2m_sde", "eta = 0.0", "dpmpp_2m", ""},
      {"dpmpp_3m_sde", "eta = 0.0", "dpmpp_3m", "start = \"ddim\""},
      {"dpmpp_3m_sde", "eta = 0.0\nd2_factor = 1", "dpmpp_3m", "start = \"ddim\"\nd2_factor = 1"},
      {"dpmpp_sde", "eta = 0.0", "dpmpp_2s", ""},
      {"dpmpp_2s_ancestral", "eta = 0.0", "dpmpp_2s", ""},
      {"churn", "s_churn = 0.0", "heun", ""},
      {"churn", "s_churn = 0.0\nsolver = \"dpmpp_2m\"", "dpmpp_2m", ""},
      {"churn", "s_tmin = 20.0", "heun", ""},
      {"sa_solver", "tau = 0.0\npredictor_order = 1\ncorrector_order = 0", "ddim", ""},
      {"sa_solver", "tau = 0.0\npredictor_order = 2\ncorrector_order = 3", "unipc", "order = 2\nvariant = \"bh1\""},
      {"sa_solver", "tau = 0.0\npredictor_order = 2\ncorrector_order = 3\nlower_order_final = false", "unipc",
       "order = 2\nvariant = \"bh1\"\nlower_order_final = false"},
      {"sa_solver", "tau = 0.0\npredictor_order = 3\ncorrector_order = 4", "unipc", "order = 3\nvariant = \"bh1\""},
      {"sa_solver", "s_tmin = 20.0", "sa_solver", "tau = 0.0"},
      {"er_sde", "noise_scale = \"ode\"\norder = 1", "ddim", ""},
      {"restart", "intervals = [[0.1, 1.0, 0, 3]]", "heun", ""},
      {"restart", "intervals = []\nsolver = \"unipc\"", "unipc", ""}};
  for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
    TestHost host(process);
    const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
    const Tensor grid = at::cat({host.process().time_of_noise_level(karras_grid(10, 0.05, 9)), times({0})});
    const Tensor x = normal({8, 1}, 5) * host.process().sigma(grid.narrow(0, 0, 1)).item<double>();
    for (const Pair& pair : pairs) {
      CAPTURE(std::string(pair.name) + " " + pair.toml);
      const auto one = host.make_plugin<Solver>(pair.name, pair.toml),
                 other = host.make_plugin<Solver>(pair.other, pair.other_toml);
      CHECK(most(solve(Ode(*teacher), *one, grid, x) - solve(Ode(*teacher), *other, grid, x)) < 1e-12);
    }
    CHECK(!host.make_plugin<Solver>("dpmpp_sde", "eta = 0.0")->stochastic());
    CHECK(!host.make_plugin<Solver>("restart", "intervals = []")->stochastic());
    CHECK(host.make_plugin<Solver>("restart", "intervals = []")->evaluations() == 2);
  }
}

TEST_CASE("solvers of one SDE are one where their formulas meet") {
  const Pair pairs[] = {
      {"sa_solver", "predictor_order = 2\ncorrector_order = 0\nrescaled = false\nlower_order_final = false",
       "dpmpp_2m_sde", "variant = \"heun\""},
      {"sa_solver", "predictor_order = 3\ncorrector_order = 0\nrescaled = false\nlower_order_final = false",
       "dpmpp_3m_sde", ""},
      {"sa_solver", "predictor_order = 1\ncorrector_order = 0", "euler_ancestral", ""},
      {"er_sde", "order = 1\nnoise_scale = \"sde\"", "euler_ancestral", ""},
      {"churn", "solver = \"dpmpp_2m\"", "churn", "solver = \"ddim\""},
      {"churn", "solver = \"dpmpp_3m\"", "churn", "solver = \"ddim\""},
      {"churn", "solver = \"unipc\"", "churn", "solver = \"ddim\""}};
  TestHost host("type = \"vp_linear\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor grid = times({1, 0.8, 0.55, 0.4, 0.22, 0.1, 0.04, 0.01, 0}), x = normal({8, 1}, 6);
  const Noise noise([&](int64_t step, int64_t) { return normal({8, 1}, 100 + static_cast<uint64_t>(step)); });
  for (const Pair& pair : pairs) {
    CAPTURE(std::string(pair.name) + " " + pair.toml);
    const auto one = host.make_plugin<Solver>(pair.name, pair.toml),
               other = host.make_plugin<Solver>(pair.other, pair.other_toml);
    CHECK(most(solve(Ode(*teacher), *one, grid, x, {}, {}, noise) -
               solve(Ode(*teacher), *other, grid, x, {}, {}, noise)) < 1e-12);
  }
}

TEST_CASE("more steps along one Brownian path go to one end") {
  const Solves cases[] = {
      {"dpmpp_2m_sde", ""}, {"dpmpp_3m_sde", ""},       {"dpmpp_sde", ""}, {"dpmpp_2s_ancestral", ""},
      {"sa_solver", ""},    {"churn", "s_churn = 4.0"}, {"er_sde", ""}};
  for (const auto& [name, toml] : cases) {
    CAPTURE(std::string(name));
    for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
      TestHost host(process);
      const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
      const auto solver = host.make_plugin<Solver>(name, toml);
      const Process& p = host.process();
      const Tensor x = normal({64, 1}, 7) * p.sigma(p.time_of_noise_level(times({10}))).item<double>();
      const auto end = [&, &solver = *solver](int64_t steps, uint64_t seed) {
        const Tensor grid = p.time_of_noise_level(log_grid(10, 0.05, steps));
        return solve(Ode(*teacher), solver, grid, x, {}, {}, Noise(seed));
      };
      const Tensor middle = end(96, 1);
      const double far = rms(end(24, 1) - middle);
      const double near = rms(middle - end(384, 1));
      const double other = rms(end(96, 2) - middle);
      CHECK(near < 0.5 * far);
      CHECK(near < 0.3 * other);
    }
  }
}

TEST_CASE("stochastic solvers leave alpha = 0 and reach sigma = 0, where the last noise counts for nothing") {
  TestHost host("type = \"rectified_flow\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor grid = at::linspace(1, 0, 13, at::kDouble), x = normal({8, 1}, 3);
  const Solves cases[] = {{"dpmpp_2m_sde", ""},
                          {"dpmpp_2m_sde", "eta = 0.0"},
                          {"dpmpp_3m_sde", ""},
                          {"dpmpp_sde", ""},
                          {"dpmpp_sde", "eta = 0.3"},
                          {"dpmpp_2s_ancestral", ""},
                          {"dpmpp_2s_ancestral", "eta = 0.5"},
                          {"churn", ""},
                          {"churn", "solver = \"unipc\""},
                          {"sa_solver", ""},
                          {"sa_solver", "s_tmax = 2.0"},
                          {"sa_solver", "predictor_order = 1\ncorrector_order = 2"},
                          {"er_sde", ""},
                          {"er_sde", "noise_scale = \"ode\""},
                          {"er_sde", "noise_scale = \"sde\""},
                          {"er_sde", "noise_scale = \"sde_1\""},
                          {"er_sde", "noise_scale = \"sde_2\""},
                          {"er_sde", "noise_scale = \"sde_3\""},
                          {"er_sde", "noise_scale = \"sde_4\""},
                          {"restart", ""}};
  for (const Solves& c : cases) {
    CAPTURE(std::string(c.name));
    CAPTURE(std::string(c.toml));
    const auto solver = host.make_plugin<Solver>(c.name, c.toml);
    const auto end = [&](const Tensor& start, int64_t other_from) {
      return solve(Ode(*teacher), *solver, grid, start, {}, {}, Noise([&](int64_t step, int64_t draw) {
                     return normal({8, 1}, static_cast<uint64_t>(1000 * draw + step + (step >= other_from ? 500 : 0)));
                   }));
    };
    const Tensor plain = end(x, 1 << 30);
    CHECK(plain.isfinite().all().item<bool>());
    CHECK(most(plain) < 3);
    const Tensor single = end(x.to(at::kFloat), 1 << 30);
    CHECK((single.scalar_type() == at::kFloat));
    CHECK(most(single - plain) < 1e-3);
    if (std::string(c.name) != "churn" && std::string(c.name) != "restart") {
      CHECK(most(end(x, 11) - plain) == 0);
    }
  }
}

TEST_CASE("equal seeds give a row the same noise in any batch, and however late it joins") {
  TestHost host("type = \"vp_linear\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor grid = times({1, 0.8, 0.6, 0.4, 0.25, 0.1, 0.03, 0}), x = normal({6, 1}, 8);
  const Tensor start = times({1, 0.4, 0.8, 1, 0.25, 0.6}), index = at::tensor({4, 1, 3}, at::kLong);
  for (const char* name :
       {"dpmpp_2m_sde", "dpmpp_3m_sde", "dpmpp_sde", "dpmpp_2s_ancestral", "churn", "sa_solver", "er_sde", "restart"}) {
    CAPTURE(std::string(name));
    const auto solver = host.make_plugin<Solver>(name);
    const Tensor all = solve(Ode(*teacher), *solver, grid, x, start, {}, Noise(9));
    const Tensor some = solve(Ode(*teacher), *solver, grid, x.index_select(0, index), start.index_select(0, index), {},
                              Noise(9).select(index));
    CHECK(most(some - all.index_select(0, index)) < 1e-12);
  }
}

TEST_CASE("a restart costs its rounds times its steps, and leaves a row without a history") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor grid = times({10, 5, 2, 1, 0.5, 0.2, 0.1}), x = normal({3, 1}) * 10;
  const auto restart = [&](const std::string& solver) {
    return host.make_plugin<Solver>("restart", "intervals = [[1.2, 4.0, 2, 3]]\nsolver = \"" + solver + "\"");
  };
  const Ode ode(*teacher);
  solve(ode, *restart("heun"), grid, x);
  CHECK(ode.evaluations() == 3 * 2 * (6 + 2 * 3));

  for (const char* name : {"dpmpp_2m", "unipc", "dpmpp_3m"}) {
    CAPTURE(std::string(name));
    const auto solver = host.make_plugin<Solver>(name);
    const auto along = [&](Tensor state, const Tensor& points, int64_t beyond) {
      History history;
      history.grow(3);
      for (int64_t i = 0; i + 1 < points.size(0); ++i) {
        const Times from(host.process(), points[i].expand({3})), to(host.process(), points[i + 1].expand({3}));
        state = take_step(*solver, Step{ode, from, to, history, Noise(), points.size(0) - 1 - i + beyond}, state);
        history.steps = history.steps + 1;
      }
      return state;
    };
    // To the first time at 1.2 or below, up to 4 and down again twice, and on from there anew.
    Tensor state = along(x, grid.narrow(0, 0, 4), 3);
    for (uint64_t k = 0; k < 2; ++k) {
      state = along(state + std::sqrt(4.0 * 4.0 - 1.0) * normal({3, 1}, 50 + k), karras_grid(4, 1, 3), 0);
    }
    const Tensor by_hand = along(state, grid.narrow(0, 3, 4), 0);
    const Tensor end = solve(ode, *restart(name), grid, x, {}, {}, Noise([](int64_t step, int64_t) {
                               return normal({3, 1}, 50 + static_cast<uint64_t>(step - (1 << 20)));
                             }));
    CHECK(most(end - by_hand) < 1e-11);
  }
}

TEST_CASE("stochastic solvers say what is wrong with their keys") {
  TestHost host("type = \"vp_linear\"");
  const auto error = [&](const char* name, const char* toml) {
    return request_error([&] { host.make_plugin<Solver>(name, toml); });
  };
  CHECK(contains(error("churn", "solver = \"dpmpp_2m_sde\""), "expected a solver of the ODE"));
  CHECK(contains(error("churn", "s_tmin = 2.0\ns_tmax = 1.0"), "below s_tmin"));
  CHECK(contains(error("restart", "solver = \"euler_ancestral\""), "expected a solver of the ODE"));
  CHECK(contains(error("restart", "intervals = [[0.3, 0.1, 1, 2]]"), "t_min < t_max"));
  CHECK(contains(error("restart", "intervals = [[0.1, 0.3, 1.5, 2]]"), "whole numbers"));
  CHECK(contains(error("restart", "intervals = [[0.1, 3000, 1, 2]]"), "noisiest level"));
  CHECK(contains(error("sa_solver", "corrector_order = 1"), "expected 2 to 4"));
  CHECK(contains(error("sa_solver", "s_tmin = 2.0\ns_tmax = 1.0"), "below s_tmin"));
}
