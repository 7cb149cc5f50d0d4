/// Consistency models in continuous time, as they were first: the limit of `cm`, or of `ct`, over ever finer grids.
///
/// Along the way the consistency function f does not change. The derivative df/dt along it, t being the noise level, is
/// taken without gradients, and f is to move against it: the loss is ||f - f~ + df/dt||^2 / 2, f~ being f without
/// gradients, whose gradient is that of the paper's pseudo-objective f^T df/dt. The way is the teacher's
/// (distillation) or that of data and noise (training). The student's boundary must be "edm". `scm` has what made this
/// stable later. Weighting "interval" is 1 / t here.
/// Source: Song et al. 2023 (arXiv 2303.01469), appendix B, theorems 5 and 6 with the squared l2 distance.
///
///     [loss]
///     type = "continuous_cm"
///     velocity = "teacher"           # or "data", the default
///     times = "karras"               # or any density of noise
#include <retort/plugin.h>

#include "noise_times.h"
#include "trig_flow.h"
#include "weighting.h"

using namespace retort;

class ContinuousCm final : public Loss {
 public:
  explicit ContinuousCm(Params& p) : times_(p), flow_(p), weighting_(p) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = flow_.of_teacher()}; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor t = times_.draw(step);
    const TrigState at = flow_.state(step, t, step.noise());
    const double sd = step.student.parametrisation().sigma_data;
    const auto [output, derivative] = flow_(step.student, at, step.batch.condition);
    // f = cos X - sin sd F, whose derivative in tau is -cos (sd F - dX/dtau) - sin (X + sd dF/dtau); the level is
    // sd tan(tau).
    const Tensor cos = at.tau.cos(), sin = at.tau.sin(), per_level = cos.square() / sd;
    const Tensor slope = -rows(per_level * cos, at.x) * (output.detach() - at.velocity) -
                         rows(per_level * sin, at.x) * at.x - rows(cos / sd, at.x) * derivative;
    const Tensor move = rows(sin, at.x) * (output.detach() - output) + slope;
    const Tensor per_row = 0.5 * move.square().flatten(1).sum(1);
    return {weighting_(per_row, step.student, t, at::zeros_like(t)), t};
  }

 private:
  NoiseTimes times_;
  TrigFlow flow_;
  Weighting weighting_;
};

RETORT_PLUGIN(ContinuousCm, loss, continuous_cm)
