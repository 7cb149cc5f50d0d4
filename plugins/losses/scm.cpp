/// Simplified continuous-time consistency models: the consistency function does not change along the way.
///
/// Everything is in TrigFlow's terms, for any process and parametrisation: at the angle tau, f = cos(tau) X - sin(tau)
/// sd F. The tangent g = cos(tau) df/dtau is
///
///     g = -cos^2(tau) (sd F - dX/dtau) - r cos(tau) sin(tau) (X + sd dF/dtau)
///
/// without gradients, where r grows from 0 to 1 over the share `warmup` of the training. It is normalised, g / (||g|| +
/// c), or clipped to [-1, 1], and F moves by it: the loss is ||F - F~ - g||^2 / D, F~ being F without gradients, times
/// 1 / (sd tan(tau)). With variance = "learned" a second network learns a logarithm u(tau) beside it, and rows weigh
/// e^-u. dX/dtau is that of data and noise (sCT, from data alone) or the teacher's (sCD, distillation). The student's
/// boundary must be "edm". By difference the tangent is good to about 1e-4 in float32.
/// Source: Lu & Song 2024 (arXiv 2410.11081), algorithm 1 and section 4.
///
///     [loss]
///     type = "scm"
///     velocity = "teacher"           # or "data", the default
///     derivative = "jvp"             # or "difference", the default
///     variance = "learned"           # or "one", the default
#include <retort/plugin.h>

#include "noise_times.h"
#include "trig_flow.h"

using namespace retort;

class Scm final : public Loss {
 public:
  explicit Scm(Params& p)
      : times_(p, -1.0, 1.4),
        flow_(p),
        tangent_(p.choice("tangent", "normalised", {"normalised", "clipped", "plain"},
                          "what is done to g: g / (||g|| + c), its elements clipped to [-1, 1], or nothing")),
        constant_(p.get("tangent_constant", 0.1, "c of the same", more_than(0))),
        mean_norm_(p.choice("tangent_norm", "sum", {"sum", "mean"},
                            "||g||: root of the sum of squares, or of their mean, for all sizes alike") == "mean"),
        warmup_(p.get("warmup", 0.1, "share of the training in which r grows from 0 to 1", between(0, 1))),
        prior_(p.choice("prior", "tangent", {"tangent", "none"},
                        "weight of a row: tangent: 1 / (sd tan(tau)), one over the noise level; none: 1") == "tangent"),
        variance_rate_(p.get("variance_learning_rate", 0.0, "of the network of u; 0: the student's", at_least(0))) {
    const bool learned = p.choice("variance", "one", {"one", "learned"},
                                  "rows weigh e^-u: u is 0, or learned by a network of its own") == "learned";
    if (p.is_describing() || learned) {
      variance_ = p.plugin<Network>("variance_network", "mlp", "variance = \"learned\": the network of u");
    }
  }

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = flow_.of_teacher()}; }
  std::vector<Role> roles() const override {
    if (!variance_) {
      return {};
    }
    return {{.name = "variance", .start = Role::Start::own, .network = variance_, .learning_rate = variance_rate_}};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor t = times_.draw(step);
    const TrigState at = flow_.state(step, t, step.noise());
    const double sd = step.student.parametrisation().sigma_data;
    const TrigFlow::Value out = flow_(step.student, at, step.batch.condition);
    const Tensor output = out.output.detach();
    const Tensor g = tamed(tangent(step, at, output, out.derivative));
    Tensor error = ((out.output - output) / sd - g).square().flatten(1).mean(1);
    if (prior_) {
      error = error / (at.tau.tan() * sd).to(error.options());
    }
    LossValue value{error, t};
    if (variance_) {
      const Tensor u = logarithm(step, t);
      value.per_row = error * (-u.detach()).exp();
      value.roles["variance"] = error.detach() * (-u).exp() + u;
    }
    value.diagnostics["tangent"] = g.square().flatten(1).sum(1).sqrt().mean();
    return value;
  }

 private:
  // output: sd F
  Tensor tangent(const TrainingStep& step, const TrigState& at, const Tensor& output, const Tensor& derivative) const {
    const double r = warmup_ > 0 ? std::min(1.0, step.progress / warmup_) : 1;
    const Tensor cos = at.tau.cos(), sin = at.tau.sin();
    return -rows(cos.square(), at.x) * (output - at.velocity) - r * (rows(cos * sin, at.x) * at.x + derivative);
  }

  Tensor tamed(const Tensor& g) const {
    if (tangent_ == "plain") {
      return g;
    }
    if (tangent_ == "clipped") {
      return g.clamp(-1, 1);
    }
    const Tensor square = g.square().flatten(1);
    const Tensor norm = (mean_norm_ ? square.mean(1) : square.sum(1)).sqrt() + constant_;
    return g / rows(norm.to(at::kDouble), g);
  }

  // u is of the time alone: its network is shown no sample.
  static Tensor logarithm(const TrainingStep& step, const Tensor& t) {
    return step.role("variance").raw(at::zeros_like(step.batch.x), t, step.batch.condition).flatten(1).mean(1);
  }

  NoiseTimes times_;
  TrigFlow flow_;
  std::string tangent_;
  double constant_;
  bool mean_norm_;
  double warmup_;
  bool prior_;
  double variance_rate_;
  std::shared_ptr<Network> variance_;
};

RETORT_PLUGIN(Scm, loss, scm)
