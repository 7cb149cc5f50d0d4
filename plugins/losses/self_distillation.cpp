/// Self-distillation of a flow map: rows with s = t teach the velocity, all others hold the map to it.
///
/// The student says X(x, t, s) = x + (s - t) u(x, t, s), and its velocity is v(x, t) = u(x, t, t). Rows with s = t are
/// flow matching. In the others one of three equations of the exact map is held, none of which needs a teacher:
///
///   lagrangian   dX/ds = v(X, s)                              a jump ends with the velocity that is there
///   eulerian     dX/dt + dX/dx v(x, t) = 0                    X stays along the way
///   progressive  X(x, t, s) = X(X(x, t, m), m, s)             two jumps are one; both as means of u
///
/// The right side, for "eulerian" all that multiplies v, carries no gradient, so that the velocity teaches the map and
/// not the other way round, unless `stop_gradient` is off. A moving average may say it, but for its derivatives.
/// Source: Boffi et al. 2025 (arXiv 2505.18825), LSD, ESD and PSD, with 3 / 4 of the rows at s = t. Its learned weight
/// of each pair of times is not here.
///
///     [loss]
///     type = "self_distillation"
///     form = "lagrangian"            # or "eulerian", "progressive"
///     derivative = "difference"      # or "jvp", for networks without softmax
#include <retort/plugin.h>

#include "flow_map_derivative.h"
#include "flow_map_rows.h"

using namespace retort;

class SelfDistillation final : public Loss {
 public:
  explicit SelfDistillation(Params& p)
      : times_(p, {.pairs = "uniform", .equal_share = 0.75}),
        lesson_(p),
        derivative_(p, "difference"),
        form_(p.choice("form", "lagrangian", {"lagrangian", "eulerian", "progressive"}, "the equation that is held")),
        at_midpoint_(p.choice("split", "uniform", {"uniform", "midpoint"},
                              "form = \"progressive\": where the jump is cut in two") == "midpoint"),
        stopped_(p.get("stop_gradient", true, "whether the right side of the equation carries no gradient")),
        target_ema_(p.get("target_ema", 0.0,
                          "decay per step of the moving average that says the right side; 0: the "
                          "student says it",
                          {.low = 0, .high = 1, .high_open = true})),
        distance_(p, "l2_sum") {
    if (!stopped_ && target_ema_ > 0) {
      throw p.error("target_ema", "is of a right side without gradients; expected stop_gradient = true");
    }
  }

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return lesson_.needs(); }
  std::vector<Role> roles() const override {
    return target_ema_ > 0 ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const MapRows at = lesson_.at(step, times_.draw(step));
    const Model& target = stopped_ ? step.target : step.student;
    const Sides both = form_ == "lagrangian" ? lagrangian(step, target, at)
                       : form_ == "eulerian" ? eulerian(step, target, at)
                                             : progressive(step, target, at);
    return {distance_(both.left, both.right), at.t};
  }

 private:
  struct Sides {
    Tensor left, right;
  };

  static Tensor velocity(const Model& u, const MapRows& at, const Tensor& x, const Tensor& t) {
    return u.raw(x, t, at.to(t));
  }
  // The velocity that is followed, where s = t.
  static Tensor or_velocity(const MapRows& at, const Tensor& otherwise) {
    const Tensor instant = (at.s == at.t).to(at::kDouble);
    return rows(instant, at.x) * at.velocity + rows(1 - instant, at.x) * otherwise;
  }

  Sides lagrangian(const TrainingStep& step, const Model& target, const MapRows& at) const {
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, {{}, 0, 1}, true);
    const Tensor gap = rows(at.s - at.t, at.x);
    const Tensor left = u.output + gap * u.derivative;
    const at::AutoGradMode mode(!stopped_);
    return {left, or_velocity(at, velocity(target, at, at.x + gap * u.output, at.s))};
  }

  // With u in place of X: u + (t - s) du/dt = v - (t - s) du/dx v.
  Sides eulerian(const TrainingStep& step, const Model& target, const MapRows& at) const {
    const auto u = derivative_(step.student, at.x, at.t, at.s, at.condition, {{}, 1, 0}, true);
    const Tensor gap = rows(at.t - at.s, at.x);
    const Tensor left = u.output + gap * u.derivative;
    const at::AutoGradMode mode(!stopped_);
    const Tensor v = or_velocity(at, velocity(target, at, at.x, at.t));
    const auto along = derivative_(step.student, at.x, at.t, at.s, at.condition, {v, 0, 0}, !stopped_);
    return {left, v - gap * along.derivative};
  }

  Sides progressive(const TrainingStep& step, const Model& target, const MapRows& at) const {
    const Tensor part = at_midpoint_ ? at::full_like(at.t, 0.5) : step.uniform();  // of the way, by the first jump
    const Tensor m = at.t + part * (at.s - at.t);
    const Tensor left = step.student.raw(at.x, at.t, at.to(at.s));
    const at::AutoGradMode mode(!stopped_);
    const Tensor first = target.raw(at.x, at.t, at.to(m));
    const Tensor second = target.raw(at.x + rows(m - at.t, at.x) * first, m, at.to(at.s));
    return {left, or_velocity(at, rows(part, at.x) * first + rows(1 - part, at.x) * second)};
  }

  MapTimes times_;
  MapLesson lesson_;
  MapDerivative derivative_;
  std::string form_;
  bool at_midpoint_, stopped_;
  double target_ema_;
  Distance distance_;
};

RETORT_PLUGIN(SelfDistillation, loss, self_distillation)
