/// Flow-anchored consistency models: one network learns the velocity and the jump to the data at once.
///
/// The jump x - t u(x, t, 0) is the consistency function. u(x, t, 0) moves by at most 1 an element towards v - t
/// du/dt, the derivative along the way without gradient, in the part 1 - (1 - t)^p; its squared error e weighs sin(pi
/// t / 2) / sqrt(e + c). The anchor is flow matching, with the angle to the velocity beside the squared error. Times
/// are fractions of the noisiest. The network tells the two tasks apart by its second time, u(x, t, t) for the anchor,
/// which makes a flow map that jumps to the data alone; or, "expanded_time", by the time 2 - t in place of t: then it
/// needs no second time, so that a teacher's own network will do, and makes a consistency model.
/// Source: Peng et al. 2025 (FACM, arXiv 2507.03738), whose t is 1 - t here; the weights are those of its code. There
/// the angle's slope grows without bound where a network says 0, as ours do at first; here it does not.
///
///     [loss]
///     type = "facm"
///     anchor = "equal_times"         # or "expanded_time"
///     velocity = "teacher"           # or "data", the default
#include <retort/host.h>
#include <retort/plugin.h>

#include <cmath>
#include <numbers>

#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class Facm final : public Loss {
 public:
  explicit Facm(Params& p)
      : arctan_(p.choice("times", "arctan", {"arctan", "logit_normal"},
                         "how t is drawn, z normal: arctan: 2 / pi arctan(exp z); logit_normal: 1 / (1 + exp -z)") ==
                "arctan"),
        mean_(p.get("t_mean", -0.8, "mean of z")),
        std_(p.get("t_std", 1.6, "its standard deviation", more_than(0))),
        lesson_(p),
        derivative_(p, "jvp"),
        expanded_(p.choice("anchor", "equal_times", {"equal_times", "expanded_time"},
                           "how the network is told that the velocity is wanted: by s = t, or by the time 2 - t") ==
                  "expanded_time"),
        power_(p.get("power", 0.5, "p of the part 1 - (1 - t)^p", more_than(0))),
        angle_(p.get("angle_weight", 1.0, "of the anchor's angle", at_least(0))),
        anchor_(p.get("anchor_weight", 1.0, "of the anchor", at_least(0))),
        error_power_(p.get("adaptive_power", 0.5, "q of e / (e + c)^q", at_least(0))),
        constant_(p.get("adaptive_constant", 1e-3, "c of the same", more_than(0))) {
    if (expanded_ && !p.is_describing() && p.host().process().name() != "rectified_flow") {
      throw p.error("anchor", "'expanded_time' is for straight ways; expected process.type = \"rectified_flow\"");
    }
  }

  Makes makes() const override { return expanded_ ? Makes::consistency : Makes::flow_map; }
  Needs needs() const override {
    return {.teacher = lesson_.of_teacher(), .end_time = !expanded_, .predicts = Predicts::flow};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor z = step.normal() * std_ + mean_;
    const Tensor u = arctan_ ? z.exp().atan() * std::numbers::inv_pi * 2 : z.sigmoid();  // t / t_max
    const Tensor t = u * step.process.t_max();
    const MapRows at = lesson_.at(step, {t, at::zeros_like(t)});
    Tensor loss = consistency(step, at, u);
    if (anchor_ > 0) {
      const Tensor velocity =
          expanded_ ? step.student.raw(at.x, beyond(step, t), at.condition) : step.student.raw(at.x, t, at.to(t));
      loss = loss + anchor_ * ((velocity - at.velocity).square().flatten(1).mean(1) +
                               angle_ * mean_angle(velocity, at.velocity));
    }
    return {loss, t};
  }

 private:
  // u: t / t_max
  Tensor consistency(const TrainingStep& step, const MapRows& at, const Tensor& u) const {
    const auto map =
        derivative_(step.student, at.x, at.t, expanded_ ? Tensor() : at.s, at.condition, {at.velocity, 1, 0});
    const Tensor off = map.output.detach() - at.velocity + rows(at.t, at.x) * map.derivative;
    const Tensor part = rows(1 - (1 - u).pow(power_), at.x);
    const Tensor target = map.output.detach() - part * off.clamp(-1, 1);
    const Tensor e = (map.output - target).square().flatten(1).mean(1);
    const Tensor weight = (u * (std::numbers::pi / 2)).sin().to(e.options());
    return weight * e / (e.detach() + constant_).pow(error_power_);
  }

  // The time 2 - t, of which a network only ever sees the label.
  static Tensor beyond(const TrainingStep& step, const Tensor& t) {
    const Parametrisation& form = step.student.parametrisation();
    if (form.preconditioning.resolved(form.predicts, step.process).sees != Sees::fraction) {
      throw Error(
          "loss.anchor: \"expanded_time\" is for a network that sees t itself; expected student.preconditioning = "
          "\"fraction\"");
    }
    return 2 * step.process.t_max() - t;
  }

  bool arctan_;
  double mean_, std_;
  MapLesson lesson_;
  MapDerivative derivative_;
  bool expanded_;
  double power_, angle_, anchor_, error_power_, constant_;
};

RETORT_PLUGIN(Facm, loss, facm)
