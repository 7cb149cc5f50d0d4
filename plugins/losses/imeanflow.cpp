/// Improved MeanFlow: MeanFlow as a regression on the velocity, along the velocity that the student itself predicts.
///
/// V = u(x, t, s) + (t - s) du/dt, whose derivative carries no gradient, is held to the velocity v. MeanFlow derives
/// along v, which for data is the noisy one of the drawn pair; here x moves along the student's own u(x, t, t), so
/// that V depends on the network and on x alone. With `velocity_weight` u(x, t, t) is held to v too, in every row:
/// what the paper's second head does, for a network that has one. Rows weigh 1 / (L + c)^p.
/// Source: Geng et al. 2025 (iMF, arXiv 2512.02012) and its code. Its guided velocity of weight w is `guidance_mix = 1
/// - 1 / w`, for one w; that the network is told w, and the interval of times that is guided, is not here.
///
///     [loss]
///     type = "imeanflow"
///     derivative = "jvp"             # or "difference"
///     equal_share = 0.5
#include <retort/plugin.h>

#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class ImprovedMeanFlow final : public Loss {
 public:
  explicit ImprovedMeanFlow(Params& p)
      : times_(p, {.equal_share = 0.5}),
        lesson_(p),
        derivative_(p, "jvp"),
        distance_(p, "l2_sum"),
        weight_(p),
        velocity_weight_(p.get("velocity_weight", 0.0, "of u(x, t, t) against v, in every row", at_least(0))) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return lesson_.needs(); }

  LossValue operator()(const TrainingStep& step) const override {
    const MapRows at = lesson_.at(step, times_.draw(step));
    Tensor instant;
    {
      const at::AutoGradMode mode(velocity_weight_ > 0);
      instant = step.student.raw(at.x, at.t, at.to(at.t));
    }
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, {instant.detach(), 1, 0});
    const Tensor compound = u.output + rows(at.t - at.s, at.x) * u.derivative;
    Tensor loss = weight_(distance_(compound, at.velocity));
    if (velocity_weight_ > 0) {
      loss = loss + velocity_weight_ * weight_(distance_(instant, at.velocity));
    }
    return {loss, at.t};
  }

 private:
  MapTimes times_;
  MapLesson lesson_;
  MapDerivative derivative_;
  Distance distance_;
  AdaptiveWeight weight_;
  double velocity_weight_;
};

RETORT_PLUGIN(ImprovedMeanFlow, loss, imeanflow)
