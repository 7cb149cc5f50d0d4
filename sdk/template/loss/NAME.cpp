/// Consistency distillation with the logarithm of the squared error, which heeds large errors less.
///
/// Draws an interval (t, s) of the grid, noises the data to x_t, moves it by one step of the solver to x_s, and
/// compares f(x_t, t) with f(x_s, s), which carries no gradient: log(1 + |difference|^2 / scale^2).
///
///     [loss]
///     type = "@name@"
///     scale = 0.3
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ops/where.h>

using namespace retort;

class @Name@ final : public Loss {
 public:
  explicit @Name@(Params& p)
      : scale_(p.get("scale", 0.3, "size of a difference that counts as large", more_than(0))) {}

  // What the student is good for afterwards, and what the loss cannot do without.
  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor& x0 = step.batch.x;
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const int64_t intervals = grid.size(0) - 1;
    // Drawn from this step's own random stream: the same numbers in every run, for every loss and number of processes.
    const Tensor index = step.intervals(intervals);
    const Tensor t = grid.index_select(0, index), s = grid.index_select(0, index + 1);
    const Tensor x_t = step.process.add_noise(x0, step.noise(), t);

    Tensor target;
    {
      const at::NoGradGuard no_grad;
      const Tensor x_s = take_step(*step.solver, *step.ode, x_t, t, s);
      // At the end of the grid f is the identity.
      const Tensor last = (index == intervals - 1).to(x_s.device()).view(shape_of_rows(x_s));
      target = at::where(last, x_s, step.target.consistency(x_s, s, step.batch.condition));
    }
    const Tensor difference = step.student.consistency(x_t, t, step.batch.condition) - target;
    return {(difference.square().flatten(1).sum(1) / (scale_ * scale_)).log1p(), t};
  }

 private:
  // [B, 1, …], so that a number per row multiplies whole samples.
  static std::vector<int64_t> shape_of_rows(const Tensor& x) {
    std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
    shape[0] = x.size(0);
    return shape;
  }

  double scale_;
};

RETORT_PLUGIN(@Name@, loss, @name@)
