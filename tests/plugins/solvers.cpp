#include "retort/exponential.h"

#include <array>
#include <cmath>

#include "support/solvers.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

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
                        {"dpmpp_2m", "", 2},
                        {"midpoint", "", 2},
                        {"midpoint", "coordinate = \"angle\"", 2},
                        {"ralston", "", 2},
                        {"ralston", "coordinate = \"lambda\"", 2},
                        {"rk4", "coordinate = \"lambda\"", 4},
                        {"unipc", "order = 1\ncorrector = false", 1},
                        {"unipc", "order = 2\ncorrector = false", 2},
                        {"unipc", "order = 2\nlower_order_final = false", 3}};
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
    const double from = p.t_max() * (p.is_variance_exploding() ? 0.25 : 1);
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
  for (const auto& [name, toml] :
       {std::pair("euler", ""), std::pair("ddim", ""), std::pair("heun", ""), std::pair("dpm_solver", "order = 3"),
        std::pair("dpmpp_2m", ""), std::pair("rk4", ""), std::pair("unipc", "")}) {
    const auto solver = host.make_plugin<Solver>(name, toml);
    const Ode ode(*teacher);
    solve(ode, *solver, grid, normal({3, 1}));
    CHECK(ode.evaluations() == 3 * 4 * solver->evaluations());
  }
}

TEST_CASE("every solver leaves alpha = 0 and reaches sigma = 0 with finite states, in float32 too") {
  TestHost host("type = \"rectified_flow\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  for (const char* name : {"euler", "ddim", "heun", "dpm_solver", "dpmpp_2m", "rk45", "rk4", "midpoint", "ralston",
                           "euler_ancestral", "unipc"}) {
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

TEST_CASE("solvers reproduce their peers' numbers (tests/parity)") { reproduce("solvers.json", 15); }

TEST_CASE("stochastic, UniPC and Runge-Kutta steps reproduce their peers' numbers (tests/parity)") {
  reproduce("stochastic_and_tableaux.json", 60);
}

TEST_CASE("phi functions are exact near 0, far from it, and at minus infinity") {
  const Tensor z = times({0, 1e-12, -1e-6, 0.5, -0.999, -1.001, -7, -30});
  // phi_k(z) as the integral of e^{(1 - s) z} s^{k-1} / (k-1)! over [0, 1], by Gauss-Legendre's rule in 40 panels.
  const std::array<double, 3> nodes = {0.5 - std::sqrt(0.15), 0.5, 0.5 + std::sqrt(0.15)};
  const std::array<double, 3> weights = {5.0 / 18, 8.0 / 18, 5.0 / 18};
  for (int k = 1; k <= 4; ++k) {
    CAPTURE(k);
    for (int64_t i = 0; i < z.size(0); ++i) {
      const double at = z[i].item<double>();
      double sum = 0;
      constexpr int panels = 2000;
      for (int p = 0; p < panels; ++p) {
        for (size_t j = 0; j < nodes.size(); ++j) {
          const double s = (p + nodes[j]) / panels;
          sum += weights[j] / panels * std::exp((1 - s) * at) * std::pow(s, k - 1) / std::tgamma(k);
        }
      }
      CHECK(phi(k, z)[i].item<double>() == doctest::Approx(sum).epsilon(1e-11));
    }
  }
  CHECK(phi(2, times({-std::numeric_limits<double>::infinity()})).item<double>() == 0);
}

TEST_CASE("noise is a row's own, in whatever batch and at whatever step") {
  const Tensor like = at::zeros({6, 50}, at::kDouble);
  const Noise noise(7);
  const Tensor all = noise.at(3).normal(like);
  const Tensor index = at::tensor({4, 1}, at::kLong);
  CHECK(at::equal(noise.select(index).at(3).normal(like.narrow(0, 0, 2)), all.index_select(0, index)));
  CHECK(!at::equal(noise.at(4).normal(like), all));
  CHECK(!at::equal(noise.at(3).normal(like, 1), all));
  CHECK(!at::equal(Noise(8).at(3).normal(like), all));
  const Tensor many = noise.normal(at::zeros({100, 1000}, at::kFloat));
  CHECK(std::abs(many.mean().item<double>()) < 0.02);
  CHECK(many.std().item<double>() == doctest::Approx(1).epsilon(0.02));
}

TEST_CASE("ancestral sampling without new noise is DDIM") {
  TestHost host("type = \"vp_linear\"");
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const Tensor x = normal({8, 1}), grid = times({1, 0.6, 0.3, 0.1, 0});
  CHECK(most(solve(Ode(*teacher), *host.make_plugin<Solver>("euler_ancestral", "eta = 0.0"), grid, x) -
             solve(Ode(*teacher), *host.make_plugin<Solver>("ddim"), grid, x)) < 1e-12);
}

TEST_CASE("a row's Brownian path is one, wherever it is cut, and its increments are independent") {
  TestHost host("type = \"vp_linear\"");
  const Process& p = host.process();
  const Noise noise(5);
  const Tensor like = at::zeros({3, 4000}, at::kDouble);
  const auto at = [&](double level) { return Times(p, p.time_of_noise_level(at::full({3}, level, at::kDouble))); };
  const auto u = [&](double level, double power) { return std::pow(level, -2 * power); };
  for (const double power : {1.0, 0.5}) {
    CAPTURE(power);
    // Increments of W(u), u = level^(-2 power), over three stretches and over the whole.
    const std::vector<double> levels = {20, 3, 0.7, 0.05};
    Tensor sum = at::zeros_like(like);
    std::vector<Tensor> parts;
    for (size_t i = 0; i + 1 < levels.size(); ++i) {
      parts.push_back(noise.at(static_cast<int64_t>(i)).brownian(like, at(levels[i]), at(levels[i + 1]), power));
      sum = sum + std::sqrt(u(levels[i + 1], power) - u(levels[i], power)) * parts.back();
    }
    const Tensor whole = noise.brownian(like, at(20), at(0.05), power);
    // The places of a path lie close, and not everywhere.
    CHECK(most(sum / std::sqrt(u(0.05, power) - u(20, power)) - whole) < 0.01);
    for (size_t i = 0; i < parts.size(); ++i) {
      CHECK(std::abs(parts[i].mean().item<double>()) < 0.04);
      CHECK(parts[i].std().item<double>() == doctest::Approx(1).epsilon(0.03));
      for (size_t j = 0; j < i; ++j) {
        CHECK(std::abs((parts[i] * parts[j]).mean().item<double>()) < 0.04);
      }
    }
  }
  // A row's own, in whatever batch; and without end into sigma = 0.
  const Tensor index = at::tensor({2}, at::kLong), one = like.narrow(0, 0, 1);
  CHECK(at::equal(noise.select(index).brownian(one, at(3).select(index), at(1).select(index)),
                  noise.brownian(like, at(3), at(1)).index_select(0, index)));
  CHECK(noise.brownian(like, at(1), Times(p, at::zeros({3}, at::kDouble))).isfinite().all().item<bool>());
}
