/// Transition models: a flow map for any pair of times, without forward-mode derivatives.
///
/// u(x, t, s) is held to v - (t - s) du/dt, as by MeanFlow, and du/dt is the central difference of two evaluations
/// along the way: any network and backend will do. A row's squared error, with `angle_weight` and the angle to its
/// target beside it, is L. It counts w L / (L + c), c small, so that all rows pull alike but for w, which falls with
/// the width of the jump, d = t - s or tan t - tan s in fractions of the noisiest time; it is 1 where s = t.
/// Source: Wang et al. 2025 (TiM, arXiv 2509.04394) and its code, with the target of its path x = (1 - t) x0 + t e.
///
///     [loss]
///     type = "tim"
///     derivative = "difference"      # or "jvp"
///     difference_step = 0.005
#include <retort/plugin.h>

#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class Tim final : public Loss {
 public:
  explicit Tim(Params& p)
      : times_(p, {.equal_share = 0.5, .zero_share = 0.2}),
        lesson_(p),
        derivative_(p, "difference"),
        angle_(p.get("angle_weight", 0.0, "of the angle to the target", at_least(0))),
        weight_(p.choice("weight", "sqrt", {"one", "reciprocal", "sqrt", "square", "soft_min_snr"},
                         "w of rows with s < t: 1, 1 / (d + 1), the root or the square of that, 1 / (d^2 + 1)")),
        width_(p.choice("width", "tangent", {"difference", "tangent", "ratio"},
                        "d: t - s, tan t - tan s, or t / (1 - t) - s / (1 - s)")),
        constant_(p.get("adaptive_constant", 1e-5, "c of L / (L + c)", more_than(0))) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return lesson_.needs(); }

  LossValue operator()(const TrainingStep& step) const override {
    const MapRows at = lesson_.at(step, times_.draw(step));
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, {at.velocity, 1, 0});
    const Tensor target = at.velocity - rows(at.t - at.s, at.x) * u.derivative;
    Tensor loss = (u.output - target).square().flatten(1).mean(1);
    if (angle_ > 0) {
      loss = loss + angle_ * mean_angle(u.output, target);
    }
    const double most = step.process.t_max();
    return {weight(at.t / most, at.s / most).to(loss.options()) * loss / (loss.detach() + constant_), at.t};
  }

 private:
  Tensor weight(const Tensor& t, const Tensor& s) const {
    const Tensor d = width_ == "tangent" ? t.tan() - s.tan()
                     : width_ == "ratio" ? t / (1 - t).clamp_min(1e-6) - s / (1 - s).clamp_min(1e-6)
                                         : t - s;
    const Tensor near = 1 / (d + 1);
    const Tensor w = weight_ == "reciprocal"     ? near
                     : weight_ == "sqrt"         ? near.sqrt()
                     : weight_ == "square"       ? near.square()
                     : weight_ == "soft_min_snr" ? 1 / (d.square() + 1)
                                                 : at::ones_like(d);
    return at::where(s < t, w, at::ones_like(w));
  }

  MapTimes times_;
  MapLesson lesson_;
  MapDerivative derivative_;
  double angle_;
  std::string weight_, width_;
  double constant_;
};

RETORT_PLUGIN(Tim, loss, tim)
