/// Direct consistency model: the student regresses on the end of the teacher's ODE.
///
/// Draws a time t of the grid, noises the data to x_t, solves the teacher's ODE from each row's own time to the end of
/// the grid, and takes the distance between f(x_t, t) and that endpoint. The solve is packed: a row costs its own steps
/// and no more, whatever the other rows of the batch need.
/// Source: Vouitsis et al. 2024, "Inconsistencies in Consistency Models" (arXiv 2411.08954).
#include <retort/loss.h>
#include <retort/plugin.h>

#include "consistency_step.h"

using namespace retort;

class DirectCm final : public Loss {
 public:
  explicit DirectCm(Params& p) : distance_(p) {}

  Objective objective() const override { return Objective::consistency; }

  LossValue operator()(const TrainingStep& step) const override {
    const NoisedSample at = draw_noised_sample(step);
    const Tensor target = solve(*step.ode, *step.solver, at.grid, at.x, at.t);
    const Tensor prediction = step.student.consistency(at.x, at.t, step.batch.condition);
    return {distance_(prediction, target), at.t};
  }

 private:
  Distance distance_;
};

RETORT_PLUGIN(DirectCm, loss, direct_cm)
