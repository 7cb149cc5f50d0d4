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
///     weighting = "interval"         # or "none", "karras", "c_out", …
#include <retort/plugin.h>

#include "consistency_training.h"
#include "weighting.h"

using namespace retort;

class Ict final : public Loss {
 public:
  explicit Ict(Params& p) : distance_(p, "pseudo_huber_vector"), weighting_(p, "interval") {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    const auto [t, s] = draw_neighbours(step);
    const TrainingPair f = training_pair(step, t, s, step.noise());
    return {weighting_(distance_(f.prediction, f.target), step.student, t, s), t};
  }

 private:
  Distance distance_;
  Weighting weighting_;
};

RETORT_PLUGIN(Ict, loss, ict)
