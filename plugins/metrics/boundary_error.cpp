/// How far a student is from the identity where its way is shortest: the boundary condition f(x, t_min) = x of
/// consistency models.
///
/// Real data are noised to the grid's last times. boundary_error is the mean squared difference of f(x, t) from x at
/// the very last one, where there is no way left; a parametrisation with a boundary condition has 0 there by
/// construction. boundary_error_teacher is that of f(x, t) from the teacher's endpoint at the last time that still has
/// a way, one interval by the configured solver, with 0 for a perfect student. For one-step students. Source: Song et
/// al. 2023 (arXiv 2303.01469), section 3 and eq. 5.
///
///     [evaluate]
///     metrics = ["boundary_error"]
///
///     [metric.boundary_error]
///     samples = 128
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class BoundaryError final : public Metric {
 public:
  explicit BoundaryError(Params& p)
      : samples_(p.get("samples", 128, "real samples, drawn from the test split", at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    if (evaluation.model() == nullptr || evaluation.student_steps() != 1 || evaluation.dataset() == nullptr) {
      return {};
    }
    const Batch data = evaluation.data(samples_);
    const int64_t n = data.x.size(0);
    const Tensor grid = evaluation.grid();
    const Tensor noise = normal_like(data.x, evaluation.generator("boundary error"));
    const Tensor end = grid[-1].expand({n}).contiguous();
    const at::NoGradGuard no_grad;
    const auto noised = [&](const Tensor& t) { return evaluation.model()->process().add_noise(data.x, noise, t); };
    const auto error = [&](const Tensor& x, const Tensor& t, const Tensor& wanted) {
      const Tensor f = evaluation.model()->endpoint(x, t, data.condition, end);
      return (f - wanted).to(at::kDouble).square().mean().item<double>();
    };
    const Tensor last = noised(end);
    Measurement out{{{"boundary_error", error(last, end, last)}}, {}};
    if (evaluation.ode() != nullptr && evaluation.solver() != nullptr) {
      const Tensor t = grid[-2].expand({n}).contiguous();
      const Tensor x = noised(t);
      const Tensor ends = evaluation.shared("ends of the last interval, from " + std::to_string(n) + " data", [&] {
        return solve(evaluation.ode()->with(data.condition), *evaluation.solver(), grid, x, t);
      });
      out.values.emplace_back("boundary_error_teacher", error(x, t, ends));
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"boundary_error_teacher", 0}}; }

 private:
  int64_t samples_;
};

RETORT_PLUGIN(BoundaryError, metric, boundary_error)
