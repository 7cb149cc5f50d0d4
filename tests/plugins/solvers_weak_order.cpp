// How the law of the ends of stochastic solvers converges, exactly: no sample is drawn here.
#include <cmath>
#include <map>

#include "support/solvers.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr double mean_of_data = 0.6, spread_of_data = 0.4;
constexpr const char* gaussian = "means = [[0.6]]\nstds = [0.4]";

struct Law {
  double mean, spread;
  double gain = 0;  // the slope of the mean given the start
};

Law exact_law(const Process& p, double t) {
  const double alpha = p.alpha(times({t})).item<double>(), sigma = p.sigma(times({t})).item<double>();
  return {alpha * mean_of_data, std::hypot(alpha * spread_of_data, sigma)};
}

// How much two draws of a step go together; 0 where they are independent.
using Together = std::function<double(int64_t step)>;

// The law of a solve's ends, of a Gaussian teacher from its exact law at the start. A step is affine in the state and
// its noises then, so the rows of one solve, which have one of these each, say all of it.
Law law_of(const Teacher& teacher, const Solver& solver, const Tensor& grid, const Together& together = {}) {
  std::map<std::pair<int64_t, int64_t>, int64_t> row_of;  // of a draw
  const Tensor one = at::zeros({1, 1}, at::kDouble);
  solve(Ode(teacher), solver, grid, one, {}, {}, Noise([&](int64_t step, int64_t draw) {
          row_of.emplace(std::pair(step, draw), 2 + static_cast<int64_t>(row_of.size()));
          return one;
        }));
  const int64_t count = 2 + static_cast<int64_t>(row_of.size());
  const Tensor x = at::zeros({count, 1}, at::kDouble);
  x[1] = 1;
  const Tensor ends = solve(Ode(teacher), solver, grid, x, {}, {}, Noise([&](int64_t step, int64_t draw) {
                              const Tensor z = at::zeros({count, 1}, at::kDouble);
                              z[row_of.at({step, draw})] = 1;
                              return z;
                            }));
  const Tensor gain = (ends - ends[0]).view({-1}).contiguous();
  const auto at = [&](int64_t row) { return gain.const_data_ptr<double>()[row]; };
  const Law start = exact_law(teacher.process(), grid[0].item<double>());
  double variance = std::pow(at(1) * start.spread, 2);
  for (const auto& [name, row] : row_of) {
    variance += at(row) * at(row);
    if (together && name.second == 1) {
      variance += 2 * together(name.first) * at(row) * at(row_of.at({name.first, 0}));
    }
  }
  return {ends[0].item<double>() + at(1) * start.mean, std::sqrt(variance), at(1)};
}

// The slope of the error of mean and spread between two refinements. keys: the solver's, for a number of steps.
double weak_order(const std::string& process, const std::string& name, const std::function<std::string(int64_t)>& keys,
                  const std::function<double(double r)>& together_at = {}, int64_t steps = 160) {
  TestHost host(process);
  const Process& p = host.process();
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", gaussian);
  const auto error = [&](int64_t count) {
    const Tensor levels = log_grid(8, 0.06, count);
    const Tensor grid = p.time_of_noise_level(levels);
    const double h = std::log(8 / 0.06) / static_cast<double>(count);
    Together together;
    if (together_at) {
      together = [&, h](int64_t) { return together_at(h); };
    }
    const Law law = law_of(*teacher, *host.make_plugin<Solver>(name, keys(count)), grid, together);
    const Law exact = exact_law(p, grid[-1].item<double>());
    return std::hypot(law.mean - exact.mean, law.spread - exact.spread);
  };
  return std::log2(error(steps) / error(2 * steps));
}

struct Case {
  const char* name;
  const char* toml;
  int order;
  bool faster = false;  // so little noise that errors of higher order lead
};

const Case all_solvers[] = {{"dpmpp_2m_sde", "", 2},
                            {"dpmpp_2m_sde", "variant = \"heun\"", 2},
                            {"dpmpp_2m_sde", "eta = 0.5", 2},
                            {"dpmpp_3m_sde", "", 2},
                            {"dpmpp_3m_sde", "d2_factor = 1", 2},
                            {"dpmpp_2s_ancestral", "", 2},
                            {"dpmpp_2s_ancestral", "eta = 0.5", 2},
                            {"churn", "s_churn = 4.0", 2},
                            {"churn", "solver = \"ddim\"\ns_churn = 4.0", 1},
                            {"sa_solver", "predictor_order = 1\ncorrector_order = 0", 1},
                            {"sa_solver", "predictor_order = 2\ncorrector_order = 0", 2},
                            {"sa_solver", "predictor_order = 1\ncorrector_order = 2\nrescaled = false", 2},
                            {"sa_solver", "", 2},
                            {"er_sde", "order = 1", 1},
                            {"er_sde", "order = 2", 2},
                            {"er_sde", "order = 2\nnoise_scale = \"sde\"", 2},
                            {"er_sde", "noise_scale = \"sde\"", 2},
                            {"er_sde", "", 2, true},
                            {"er_sde", "noise_scale = \"sde_1\"", 2, true},
                            {"er_sde", "noise_scale = \"sde_4\"", 2}};

double brownian_at_half(double h) {  // corr(W(u_m), W(u_s)) from u_t on, u = 1 / l^2, m halfway in log l
  return std::sqrt(std::expm1(h) / std::expm1(2 * h));
}

}  // namespace

TEST_CASE("the law of a Gaussian's ends converges at the order that a stochastic solver declares") {
  for (const Case& c : all_solvers) {
    CAPTURE(std::string(c.name));
    CAPTURE(std::string(c.toml));
    TestHost ve;
    CHECK(ve.make_plugin<Solver>(c.name, c.toml)->order() == c.order);
    for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
      const double order = weak_order(process, c.name, [&](int64_t) { return c.toml; });
      note_order(c.name, c.toml, c.order, order);
      CHECK(order > c.order - 0.15);
      CHECK(order < c.order + (c.faster ? 1 : 0.15));
    }
  }
}

TEST_CASE("eta says which of the SDEs is solved, as the mean given the start shows") {
  TestHost host("type = \"vp_linear\"");
  const Process& p = host.process();
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", gaussian);
  for (const auto& [name, toml] : {std::pair("dpmpp_2m_sde", "eta = 0.5"), std::pair("dpmpp_3m_sde", "eta = 0.5"),
                                   std::pair("sa_solver", "tau = 0.70710678118654752")}) {
    CAPTURE(std::string(name));
    const auto solver = host.make_plugin<Solver>(name, toml);
    const auto error = [&, &solver = *solver](int64_t steps) {
      const Tensor grid = p.time_of_noise_level(log_grid(8, 0.06, steps));
      // y - m shrinks with the spread of y to the power 1 + eta.
      const Law from = exact_law(p, grid[0].item<double>()), to = exact_law(p, grid[-1].item<double>());
      const Tensor alpha = p.alpha(grid);
      const double ratio = (alpha[-1] / alpha[0]).item<double>();
      return std::abs(law_of(*teacher, solver, grid).gain - ratio * std::pow(to.spread / from.spread / ratio, 1.5));
    };
    CHECK(error(80) < 1e-4);
    CHECK(std::log2(error(80) / error(160)) > 1.85);
  }
}

TEST_CASE("dpmpp_sde is of second order with both noises from one path, and of first with independent ones") {
  const auto none = [](int64_t) { return ""; };
  for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
    CHECK(weak_order(process, "dpmpp_sde", none, brownian_at_half) == doctest::Approx(2).epsilon(0.075));
    CHECK(weak_order(process, "dpmpp_sde", none) == doctest::Approx(1).epsilon(0.15));
  }
}

TEST_CASE("the law of restarts converges at the solver's order, with as many steps down again") {
  const auto keys = [](int64_t steps) {
    return "intervals = [[0.2, 1.5, 3, " + std::to_string(steps / 2) + "], [0.1, 0.4, 2, " + std::to_string(steps / 2) +
           "]]";
  };
  for (const char* process : {"type = \"ve\"", "type = \"vp_linear\""}) {
    CHECK(weak_order(process, "restart", keys) == doctest::Approx(2).epsilon(0.075));
    CHECK(weak_order(process, "restart", [&](int64_t n) { return "solver = \"ddim\"\n" + keys(n); }) ==
          doctest::Approx(1).epsilon(0.15));
  }
}

TEST_CASE("the integrals of er_sde as its authors take them leave an error of first order") {
  const auto order = [](const char* toml) {
    return weak_order("type = \"ve\"", "er_sde", [&](int64_t) { return toml; });
  };
  CHECK(order("order = 2\nnoise_scale = \"sde\"") > 1.85);
  CHECK(order("order = 2\nnoise_scale = \"sde\"\nderivatives = \"authors\"") < 1.5);
}
