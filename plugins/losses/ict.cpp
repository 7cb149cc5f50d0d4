/// Consistency training: a consistency model from data alone, without a teacher and without a solver.
///
/// Draws an interval (t, s) of the grid and takes the distance between f(x_t, t) and f(x_s, s), both states with the
/// same noise; the second carries no gradient. Rows weigh 1 / (t - s), in noise levels. With schedule "ict", the
/// pseudo-Huber distance and boundary "sigma_shifted" this is improved consistency training.
/// Source: Song & Dhariwal 2023 (arXiv 2310.14189), eq. 4 and section 3; Song et al. 2023, algorithm 3.
///
///     [loss]
///     type = "ict"
///     distance = "pseudo_huber_vector"
///     weighting = "interval"         # or "none"
#include <retort/loss.h>
#include <retort/plugin.h>

#include "consistency_step.h"

using namespace retort;

class Ict final : public Loss {
 public:
  explicit Ict(Params& p)
      : distance_(p, "pseudo_huber_vector"),
        weighted_(p.choice("weighting", "interval", {"interval", "none"},
                           "of a row: interval: 1 / (t - s), of noise levels; none: 1") == "interval") {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const Tensor index = step.intervals(grid.size(0) - 1);
    const Tensor t = grid.index_select(0, index), s = grid.index_select(0, index + 1);
    const Tensor noise = step.noise();
    Tensor target;
    {
      const at::NoGradGuard no_grad;
      target = step.target.consistency(step.process.add_noise(step.batch.x, noise, s), s, step.batch.condition);
    }
    const Tensor f = step.student.consistency(step.process.add_noise(step.batch.x, noise, t), t, step.batch.condition);
    const Tensor distance = distance_(f, target);
    if (!weighted_) {
      return {distance, t};
    }
    const Tensor width = step.process.noise_level(t) - step.process.noise_level(s);
    return {distance / width.to(distance.options()), t};
  }

 private:
  Distance distance_;
  bool weighted_;
};

RETORT_PLUGIN(Ict, loss, ict)
