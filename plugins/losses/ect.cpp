/// Easy consistency tuning: a diffusion model becomes a consistency model, from data alone and without a grid.
///
/// Draws a time t, and takes r below it, in noise levels, by r = t (1 - n(t) / q^(k + 1)) in part k of the training.
/// The distance between f(x_t, t) and f(x_r, r), both states with the same noise, weighs 1 / (t - r); the second
/// carries no gradient, and is the data itself where r = 0. So it begins as a denoiser's training, and ends near
/// consistency training in continuous time. With student.init = "teacher" it tunes that.
///
/// Source: Geng et al. 2024 (arXiv 2406.14548), algorithm 1, whose code has a norm for the distance:
/// huber_c = 1e-8 is that, with a gradient also where both ends agree. q = 256 and parts = 1 is its fixed mapping.
///
///     [loss]
///     type = "ect"
///     distance = "pseudo_huber_vector"
///     mapping = "sigmoid"            # or "constant"
///     q = 2.0
///     parts = 8
///     weighting = "interval"         # or "none", "karras", "c_out", …
#include <retort/plugin.h>

#include "closing_step.h"
#include "consistency_training.h"
#include "noise_times.h"
#include "weighting.h"

using namespace retort;

class Ect final : public Loss {
 public:
  explicit Ect(Params& p)
      : times_(p, -1.1, 2.0), closing_(p), distance_(p, "pseudo_huber_vector"), weighting_(p, "interval") {}

  Makes makes() const override { return Makes::consistency; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor t = times_.draw(step);
    const Tensor r = step.process.time_of_noise_level(closing_(step.process.noise_level(t), step.progress));
    const TrainingPair f = training_pair(step, t, r, step.noise());
    return {weighting_(distance_(f.prediction, f.target), step.student, t, r), t};
  }

 private:
  NoiseTimes times_;
  ClosingStep closing_;
  Distance distance_;
  Weighting weighting_;
};

RETORT_PLUGIN(Ect, loss, ect)
