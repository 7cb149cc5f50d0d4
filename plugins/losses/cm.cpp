/// Consistency distillation: the student agrees with its target one solver step further along the teacher's ODE.
///
/// Draws an interval (t, s) of the grid, noises the data to x_t, moves it by one step of the solver to x_s, and takes
/// the distance between f(x_t, t) and the target network's f(x_s, s), which carries no gradient. At the end of the grid
/// the target is x_s itself, f's boundary condition. The target network is the student with its gradient stopped
/// (Direct CM's baseline, latent consistency) or its moving average (Song et al. 2023).
/// Source: Song et al. 2023 (arXiv 2303.01469), algorithm 2.
///
///     [loss]
///     type = "cm"
///     distance = "pseudo_huber"      # or "l2", the default, or "l1"
///     target = "student"             # or "ema"
///     weighting = "none"             # or "snr", "truncated_snr", "karras", …
#include <retort/plugin.h>

#include "consistency_step.h"
#include "weighting.h"

using namespace retort;

class Cm final : public Loss {
 public:
  explicit Cm(Params& p) : distance_(p), target_(p), weighting_(p) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }
  std::vector<Role> roles() const override { return target_.roles(); }

  LossValue operator()(const TrainingStep& step) const override {
    const NoisedSample at = draw_noised_sample(step);
    const Tensor x_s = take_step(*step.solver, *step.ode, at.x, at.t, at.s);
    const Tensor target = TargetNetwork::consistency(step, x_s, at.s, at.last);
    const Tensor prediction = step.student.consistency(at.x, at.t, step.batch.condition);
    return {weighting_(distance_(prediction, target), step.student, at.t, at.s), at.t};
  }

 private:
  Distance distance_;
  TargetNetwork target_;
  Weighting weighting_;
};

RETORT_PLUGIN(Cm, loss, cm)
