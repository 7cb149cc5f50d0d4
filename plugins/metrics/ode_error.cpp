/// How well a student solves its teacher's ODE: the mean squared error of its samples against the teacher's endpoints
/// from the same noise.
///
/// ode_error compares with the teacher's endpoint by the configured solver and grid, as Direct CM's paper does.
/// ode_error_exact compares with a fine solve by `reference` instead, and discretisation_error compares the two
/// endpoints, so that the error of distillation and that of the grid can be told apart. For one-step students, the
/// series ode_error_by_noise gives the error from real data noised to each of some levels. All are errors of states: of
/// latents, where an autoencoder decodes these to pictures. Source: Vouitsis et al. 2024 (arXiv 2411.08954).
///
///     [evaluate]
///     metrics = ["ode_error"]
///
///     [metric.ode_error]
///     exact_samples = 128            # 0: no fine solve
///     noise_levels = 6               # 0: no series
///     reference = "rk45"
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class OdeError final : public Metric {
 public:
  explicit OdeError(Params& p)
      : reference_(p.plugin<Solver>("reference", "rk45", "solver of the fine solve, on the same first and last time")),
        exact_samples_(
            p.get("exact_samples", 128, "samples of the fine solve, the first ones; 0: no fine solve", at_least(0))),
        levels_(p.get("noise_levels", 6, "points of the series over the noise level; 0: none", at_least(0))),
        level_samples_(p.get("noise_level_samples", 128, "real samples for each of them, drawn from the test split",
                             at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor endpoints = evaluation.endpoints();
    if (!endpoints.defined()) {
      return {};
    }
    Measurement out;
    if (evaluation.model() != nullptr) {
      out.values.emplace_back("ode_error", mse(evaluation.sample_states(), endpoints));
    }
    const int64_t n = std::min(exact_samples_, endpoints.size(0));
    if (n > 0) {
      const Tensor exact = exact_endpoints(evaluation, n);
      if (evaluation.model() != nullptr) {
        out.values.emplace_back("ode_error_exact", mse(evaluation.sample_states().narrow(0, 0, n), exact));
      }
      if (!evaluation.solver()->stochastic()) {  // its ends are those of no ODE
        out.values.emplace_back("discretisation_error", mse(endpoints.narrow(0, 0, n), exact));
      }
    }
    if (evaluation.student_steps() == 1 && levels_ > 0) {
      out.series["ode_error_by_noise"] = by_noise(evaluation);
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"ode_error", 0}}; }

 private:
  static double mse(const Tensor& a, const Tensor& b) { return (a - b).to(at::kDouble).square().mean().item<double>(); }

  Tensor exact_endpoints(const Evaluation& evaluation, int64_t n) const {
    return evaluation.shared_by_solvers("exact endpoints of " + std::to_string(n), [&] {
      const Batch start = evaluation.start();
      const Tensor grid = evaluation.grid();
      const Tensor ends = at::stack({grid[0], grid[-1]});
      return solve(evaluation.ode()->with(start.condition.first(n)), *reference_, ends, start.x.narrow(0, 0, n));
    });
  }

  std::vector<std::pair<double, double>> by_noise(const Evaluation& evaluation) const {
    const Batch data = evaluation.data(level_samples_);
    const int64_t rows = data.x.size(0);
    const Tensor grid = evaluation.grid();
    const Process& process = evaluation.ode()->process();
    const int64_t intervals = grid.size(0) - 1;
    std::vector<std::pair<double, double>> out;
    const int64_t count = std::min(levels_, intervals);
    const Tensor noise = normal_like(data.x, evaluation.generator("noise levels"));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = intervals * i / count;
      const Tensor t = grid[at].expand({rows}).contiguous();
      const Tensor x = process.add_noise(data.x, noise, t);
      const Tensor ends = evaluation.shared("endpoints from interval " + std::to_string(at), [&] {
        return solve(evaluation.ode()->with(data.condition), *evaluation.solver(), grid, x, t);
      });
      const at::NoGradGuard no_grad;
      out.emplace_back(
          process.noise_level(t)[0].item<double>(),
          mse(evaluation.model()->endpoint(x, t, data.condition, grid[-1].expand({rows}).contiguous()), ends));
    }
    return out;
  }

  std::shared_ptr<Solver> reference_;
  int64_t exact_samples_, levels_, level_samples_;
};

RETORT_PLUGIN(OdeError, metric, ode_error)
