/// Terminal velocity matching: a flow map whose jumps end with the right velocity, in one training from data.
///
/// The student says X(x, t, s) = x + (s - t) u(x, t, s). Where a jump ends, dX/ds = u + (s - t) du/ds is held to the
/// velocity u(X, s, s) that a moving average of the student says there, without gradient. That velocity is learnt
/// beside it: u(x', s', s') follows the velocity at another time s' of the same data and noise. Only a derivative in s
/// is taken, none in x; its own gradient counts too, unless `derivative_gradient` is off.
/// Source: Zhou et al. 2025 (arXiv 2511.19797), the objective and its choice of times. The guided target w v + (1 - w)
/// u(no condition) is `guidance`, one weight for all rows.
///
///     [loss]
///     type = "tvm"
///     target_ema = 0.99              # of the moving average; 0: the student itself
///     derivative = "difference"      # or "jvp", for networks without softmax
#include <retort/plugin.h>

#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class Tvm final : public Loss {
 public:
  explicit Tvm(Params& p)
      : times_(p, {.pairs = "gap_logit_normal"}),
        lesson_(p),
        derivative_(p, "difference"),
        differentiable_(p.get("derivative_gradient", true, "whether du/ds carries a gradient")),
        target_ema_(p.get("target_ema", 0.99, "decay of the target's moving average per step; 0: the student itself",
                          {.low = 0, .high = 1, .high_open = true})),
        distance_(p) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return lesson_.needs(); }
  std::vector<Role> roles() const override {
    return target_ema_ > 0 ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const MapRows at = lesson_.at(step, times_.draw(step));
    const MapRows instant = lesson_.elsewhere(step, at, times_.draw_one(step));
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, {{}, 0, 1}, differentiable_);
    const Tensor gap = rows(at.s - at.t, at.x);
    Tensor terminal;
    {
      const at::NoGradGuard no_grad;
      terminal = step.target.raw(at.x + gap * u.output, at.s, at.to(at.s));
    }
    const Tensor velocity = step.student.raw(instant.x, instant.t, instant.to(instant.t));
    return {distance_(u.output + gap * u.derivative, terminal) + distance_(velocity, instant.velocity), at.t};
  }

 private:
  MapTimes times_;
  MapLesson lesson_;
  MapDerivative derivative_;
  bool differentiable_;
  double target_ema_;
  Distance distance_;
};

RETORT_PLUGIN(Tvm, loss, tvm)
