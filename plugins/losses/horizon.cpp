/// Consistency distillation over any number of solver steps: from `cm`, over one, to `direct_cm`, over all.
///
/// Draws a time t of the grid, noises the data to x_t, and follows the teacher's ODE over `steps` intervals to x_s. The
/// target is the target network's f(x_s, s), which carries no gradient; where the grid ends before, it is the ODE's end
/// itself. steps = 1 is consistency distillation (Song et al. 2023, arXiv 2303.01469, algorithm 2), and steps = 0,
/// which is all of them, the direct consistency model (Vouitsis et al. 2024, arXiv 2411.08954): both to the bit, with
/// the same times and noise. Between, the more steps, the more of the target is the teacher's word, and the less is the
/// student's own; a sweep over loss.steps shows what that is worth. With `random` the number is drawn anew for each
/// row, evenly between 1 and `steps`, as consistency trajectory models do (Kim et al. 2023, arXiv 2310.02279, section
/// 3.1).
///
/// The solve is packed: a row costs its own steps and no more, and the solver keeps its history over them.
///
///     [loss]
///     type = "horizon"
///     steps = 4                      # 1: cm; 0: to the end, direct_cm
///     distance = "pseudo_huber"      # or "l2", the default, or "l1"
///     target = "student"             # or "ema"
///     weighting = "none"             # or "interval", "truncated_snr", "karras", …
#include <retort/plugin.h>

#include "consistency_step.h"
#include "weighting.h"

using namespace retort;

class Horizon final : public Loss {
 public:
  explicit Horizon(Params& p)
      : distance_(p),
        steps_(p.get("steps", 4, "solver steps from x_t to the target; 0: to the end of the grid", at_least(0))),
        random_(p.get("random", false, "each row's number of steps is drawn evenly, from 1 to `steps`")),
        target_(p),
        weighting_(p) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }
  std::vector<Role> roles() const override { return target_.roles(); }

  LossValue operator()(const TrainingStep& step) const override {
    const NoisedSample at = draw_noised_sample(step);
    const int64_t intervals = at.grid.size(0) - 1;
    const bool to_the_end = !random_ && (steps_ == 0 || steps_ >= intervals);
    const Tensor left = intervals - at.index;
    Tensor count = steps_ == 0 ? left : left.clamp_max(steps_);
    if (random_) {
      count = 1 + (step.uniform() * count).floor().to(at::kLong);
    }
    const Tensor s = at.grid.index_select(0, at.index + count);
    // A solve to the end may be remembered.
    const Tensor x_s = to_the_end ? solve(*step.ode, *step.solver, at.grid, at.x, at.t) : follow(step, at, count);
    const Tensor target = TargetNetwork::consistency(step, x_s, s, count == left);
    const Tensor prediction = step.student.consistency(at.x, at.t, step.batch.condition);
    return {weighting_(distance_(prediction, target), step.student, at.t, s), at.t};
  }

 private:
  // Each row moved by its own number of intervals: [B] int64, 1 at least. Ways are aligned at their ends: a row joins
  // where as many steps are left as it has, so the rows under way are the first ones, as in `solve`.
  static Tensor follow(const TrainingStep& step, const NoisedSample& at, const Tensor& count) {
    const at::NoGradGuard no_grad;
    const Tensor order = count.argsort(/*stable=*/true, /*dim=*/0, /*descending=*/true);
    const Tensor on_device = order.to(at.x.device());
    const Tensor sorted = count.index_select(0, order).contiguous();
    const Tensor end = (at.index + count).index_select(0, order);
    const Tensor x = at.x.index_select(0, on_device);
    const Ode all = step.ode->rows(order);
    const Noise noise = Noise().select(order);
    const int64_t rows = sorted.size(0), *own = sorted.data_ptr<int64_t>();
    History history;
    int64_t active = 0;
    for (int64_t left = own[0]; left > 0; --left) {
      while (active < rows && own[active] >= left) {
        ++active;
      }
      history.grow(active);
      const auto time = [&](int64_t from_end) {
        return Times(all.process(), at.grid.index_select(0, end.narrow(0, 0, active) - from_end));
      };
      const Ode under_way = active == rows ? all : all.first(active);
      const Noise drawn = noise.select(at::arange(active, at::kLong)).at(own[0] - left);
      Tensor current = x.narrow(0, 0, active);
      current.copy_(
          take_step(*step.solver, Step{under_way, time(left), time(left - 1), history, drawn, left}, current));
      history.steps = history.steps + 1;
    }
    return at::empty_like(x).index_copy_(0, on_device, x);
  }

  Distance distance_;
  int64_t steps_;
  bool random_;
  TargetNetwork target_;
  Weighting weighting_;
};

RETORT_PLUGIN(Horizon, loss, horizon)
