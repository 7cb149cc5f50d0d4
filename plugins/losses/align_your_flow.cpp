/// Align Your Flow: a flow map is distilled in continuous time, by the direction in which its jumps are wrong.
///
/// The student says X(x, t, s) = x + (s - t) u(x, t, s), the state at time s of the way through x at time t. Along the
/// way X must not change, so the Eulerian form takes d = dX/dt = v - u + r (s - t) du/dt, v the velocity that is
/// followed; the Lagrangian form takes d = v(X, s) - u - r (s - t) du/ds, the velocity at the jump's end less the
/// map's own. Then X is moved by g = d / (|d| + c), which carries no gradient: the loss is the mean square of X -
/// sg(X) + sg(g). r rises from 0, flow matching, to `tangent_share` in the first part of the training. At 0.99, the
/// default, a trace of flow matching remains; 1 has the exact map as its fixed point.
/// Source: Sabour et al. 2025 (arXiv 2506.14603), AYF-EMD and AYF-LMD, with tangent normalisation and warm-up.
///
///     [loss]
///     type = "align_your_flow"
///     velocity = "teacher"           # or "data", the default: without a teacher
///     form = "eulerian"              # or "lagrangian", with a teacher alone
///     derivative = "jvp"             # or "difference"
#include <retort/plugin.h>

#include <algorithm>

#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class AlignYourFlow final : public Loss {
 public:
  explicit AlignYourFlow(Params& p)
      : times_(p, {.pairs = "gap"}),
        lesson_(p),
        derivative_(p, "jvp"),
        eulerian_(p.choice("form", "eulerian", {"eulerian", "lagrangian"},
                           "what is held: that X stays along the way, or that it ends with the teacher's velocity") ==
                  "eulerian"),
        by_gap_(p.choice("weight", "gap", {"gap", "one"},
                         "of a row's gradient: gap: t - s, as X has it; one: u is moved in place of X") == "gap"),
        share_(p.get("tangent_share", 0.99, "greatest r, the share of the derivative", between(0, 1))),
        warmup_(p.get("warmup", 0.1, "share of the training in which r rises from 0 to 1, or what is its greatest",
                      between(0, 1))),
        constant_(p.get("tangent_constant", 0.1, "c of d / (|d| + c); |d| is over a whole sample", more_than(0))) {
    if (!eulerian_ && !lesson_.of_teacher() && !p.is_describing()) {
      throw p.error("form", "'lagrangian' asks for the velocity where no data are; expected velocity = \"teacher\"");
    }
  }

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return lesson_.needs(); }

  LossValue operator()(const TrainingStep& step) const override {
    const MapRows at = lesson_.at(step, times_.draw(step));
    const MapDirection along = eulerian_ ? MapDirection{at.velocity, 1, 0} : MapDirection{{}, 0, 1};
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, along);
    const Tensor moved = by_gap_ ? rows(at.s - at.t, at.x) * u.output : -u.output;  // X - x, or u that X falls with
    return {(moved - moved.detach() + direction(step, at, u)).square().flatten(1).mean(1), at.t};
  }

 private:
  Tensor direction(const TrainingStep& step, const MapRows& at, const MapDerivative::Value& u) const {
    const at::NoGradGuard no_grad;
    const double r = warmup_ > 0 ? std::min(step.progress / warmup_, share_) : share_;
    const Tensor bend = rows(r * (at.s - at.t), at.x) * u.derivative;
    Tensor d;
    if (eulerian_) {
      d = at.velocity - u.output + bend;
    } else {
      d = lesson_.velocity(step, at, at.x + rows(at.s - at.t, at.x) * u.output, at.s) - u.output - bend;
    }
    const Tensor length = d.flatten(1).square().sum(1).sqrt() + constant_;
    return d / rows(length.to(at::kDouble).cpu(), d);
  }

  MapTimes times_;
  MapLesson lesson_;
  MapDerivative derivative_;
  bool eulerian_, by_gap_;
  double share_, warmup_, constant_;
};

RETORT_PLUGIN(AlignYourFlow, loss, align_your_flow)
