/// How far a student is from being constant along the teacher's ODE: the mean squared difference of f at neighbouring
/// times.
///
/// Measured on the teacher's own trajectories from the evaluation noise, over every interval of the grid; zero for a
/// perfect consistency function. For one-step students only, as it does not depend on the sampler. With
/// `self_consistency` there is also self_consistency_error, the mean squared difference of f at any two times of a
/// trajectory, and its series by noise level: of f at that level from f at the start, the sample of one step. Source:
/// the objective of Song et al. 2023 (arXiv 2303.01469), eq. 7, along exact trajectories, and the self-consistency
/// of section 3.
///
///     [evaluate]
///     metrics = ["consistency_error"]
///
///     [metric.consistency_error]
///     samples = 128
///     self_consistency = true
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class ConsistencyError final : public Metric {
 public:
  explicit ConsistencyError(Params& p)
      : samples_(p.get("samples", 128, "trajectories", at_least(1))),
        self_consistency_(p.get("self_consistency", false, "measure self_consistency_error too, and its series")) {}

  Measurement measure(const Evaluation& evaluation) const override {
    if (evaluation.model() == nullptr || evaluation.ode() == nullptr || evaluation.student_steps() != 1) {
      return {};
    }
    const Batch start = evaluation.start();
    const int64_t n = std::min(samples_, start.x.size(0));
    const Conditioning condition = start.condition.first(n);
    const Tensor trajectory = evaluation.shared("trajectory of " + std::to_string(n), [&] {
      std::vector<Tensor> points = {start.x.narrow(0, 0, n)};
      solve(evaluation.ode()->with(condition), *evaluation.solver(), evaluation.grid(), points[0], {},
            [&](double, const Tensor&, const Tensor& x) { points.push_back(x.clone()); });
      return at::stack(points);
    });
    const Tensor grid = evaluation.grid();
    const Tensor end = grid[-1].expand({n}).contiguous();
    const at::NoGradGuard no_grad;
    double sum = 0;
    std::vector<Tensor> ends;
    for (int64_t i = 0; i < grid.size(0); ++i) {
      const Tensor t = grid[i].expand({n}).contiguous();
      // At the end of the grid f is the identity.
      const Tensor f =
          i + 1 == grid.size(0) ? trajectory[i] : evaluation.model()->endpoint(trajectory[i], t, condition, end);
      if (i > 0) {
        sum += (f - ends.back()).to(at::kDouble).square().mean().item<double>();
      }
      ends.push_back(f);
    }
    Measurement out{{{"consistency_error", sum / static_cast<double>(grid.size(0) - 1)}}, {}};
    if (self_consistency_) {
      const Tensor f = at::stack(ends).to(at::kDouble);  // [times, n, …]
      // The mean over pairs of different times is twice the unbiased variance over times.
      out.values.emplace_back("self_consistency_error", 2 * f.var(0, /*unbiased=*/true).mean().item<double>());
      const Tensor levels = evaluation.ode()->process().noise_level(grid);
      for (int64_t i = 1; i < grid.size(0); ++i) {
        out.series["self_consistency_error_by_noise"].emplace_back(levels[i].item<double>(),
                                                                   (f[i] - f[0]).square().mean().item<double>());
      }
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override {
    std::vector<std::pair<std::string, double>> out = {{"consistency_error", 0}};
    if (self_consistency_) {
      out.emplace_back("self_consistency_error", 0);
    }
    return out;
  }

 private:
  int64_t samples_;
  bool self_consistency_;
};

RETORT_PLUGIN(ConsistencyError, metric, consistency_error)
