/// AnyFlow: a flow map whose jumps cost as much as its velocity, so that more steps make better samples.
///
/// u(x, t, s) is held to v - (t - s) du/dt, as by MeanFlow, du/dt by a central difference; half of the rows have s =
/// t, which is flow matching, and a quarter s = 0. A row's squared error weighs 15 / 4 t sqrt(1 - t), t a fraction of
/// the noisiest time. Then each row with s < t is rescaled, without gradient, to the mean of those with s = t: hard
/// jumps do not drown the velocity. Where no row has s = t, none is rescaled. In data-parallel training each process
/// takes the mean of its own rows.
/// Source: AnyFlow (arXiv 2605.13724), the first stage of its training; the weight and the rescaling are those of its
/// code, whose guidance inside the prediction is `guidance` here, of the velocity.
///
///     [loss]
///     type = "anyflow"
///     shift = 5.0                    # of both times towards noise; 1, the default: none
#include <retort/plugin.h>

#include "../shared/flow_shift.h"
#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class AnyFlow final : public Loss {
 public:
  explicit AnyFlow(Params& p)
      : times_(p, {.pairs = "uniform", .equal_share = 0.5, .zero_share = 0.5}),
        lesson_(p),
        derivative_(p, "difference"),
        shift_(p.get("shift", 1.0, "s of s t / (1 + (s - 1) t), for both times, towards noise", more_than(0))),
        beta_(p.choice("weight", "beta", {"beta", "one"}, "of a row: 15 / 4 t sqrt(1 - t), of mean 1; or 1") == "beta"),
        constant_(p.get("scale_constant", 1e-5, "added to a row's loss where it is divided by it", more_than(0))) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return lesson_.needs(); }

  LossValue operator()(const TrainingStep& step) const override {
    const double most = step.process.t_max();
    const auto drawn = times_.draw(step);
    const Tensor part = shifted(drawn.t / most, shift_);
    const MapRows at = lesson_.at(step, {part * most, shifted(drawn.s / most, shift_) * most});
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, {at.velocity, 1, 0});
    const Tensor target = at.velocity - rows(at.t - at.s, at.x) * u.derivative;
    Tensor loss = (u.output - target).square().flatten(1).mean(1);
    if (beta_) {
      loss = loss * (3.75 * part * (1 - part).sqrt()).to(loss.options());
    }
    return {loss * scale(loss.detach(), (at.s == at.t).to(loss.device())), at.t};
  }

 private:
  Tensor scale(const Tensor& loss, const Tensor& instant) const {
    const Tensor of_instant = instant.to(loss.options());
    const Tensor count = of_instant.sum();
    const Tensor mean = (loss * of_instant).sum() / count.clamp_min(1);
    return at::where(instant.logical_or(count == 0), at::ones_like(loss), mean / (loss + constant_));
  }

  MapTimes times_;
  MapLesson lesson_;
  MapDerivative derivative_;
  double shift_;
  bool beta_;
  double constant_;
};

RETORT_PLUGIN(AnyFlow, loss, anyflow)
