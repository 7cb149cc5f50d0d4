/// How far a student is from being constant along the teacher's ODE: the mean squared difference of f at neighbouring
/// times.
///
/// Measured on the teacher's own trajectories from the evaluation noise, over every interval of the grid; zero for a
/// perfect consistency function. For one-step students only, as it does not depend on the sampler. Source: the
/// objective of Song et al. 2023 (arXiv 2303.01469), eq. 7, along exact trajectories.
///
///     [evaluate]
///     metrics = ["consistency_error"]
///
///     [metric.consistency_error]
///     samples = 128
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class ConsistencyError final : public Metric {
 public:
  explicit ConsistencyError(Params& p) : samples_(p.get("samples", 128, "trajectories", at_least(1))) {}

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
    Tensor previous;
    for (int64_t i = 0; i < grid.size(0); ++i) {
      const Tensor t = grid[i].expand({n}).contiguous();
      // At the end of the grid f is the identity.
      const Tensor f =
          i + 1 == grid.size(0) ? trajectory[i] : evaluation.model()->endpoint(trajectory[i], t, condition, end);
      if (previous.defined()) {
        sum += (f - previous).to(at::kDouble).square().mean().item<double>();
      }
      previous = f;
    }
    return {{{"consistency_error", sum / static_cast<double>(grid.size(0) - 1)}}, {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"consistency_error", 0}}; }

 private:
  int64_t samples_;
};

RETORT_PLUGIN(ConsistencyError, metric, consistency_error)
