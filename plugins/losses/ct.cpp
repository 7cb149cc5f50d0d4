/// Consistency training as it was first: a consistency model from data alone, whose target is its moving average.
///
/// Draws an interval (t, s) of the grid and takes the distance between f(x_t, t) and the target network's f(x_s, s),
/// both states with the same noise; the second carries no gradient. Rows weigh 1. With schedule "progressive" the grid
/// grows as in the paper; there the decay grows with it, from 0.9 to 0.999 and more, where `target_ema` is one number
/// for the whole training. `ict` is the same without the average, with the weights and the distance that came later.
/// Source: Song et al. 2023 (arXiv 2303.01469), algorithm 3.
///
///     [loss]
///     type = "ct"
///     distance = "l2"                # the default; or "l1", "pseudo_huber"
///     target = "ema"                 # or "student"
///     target_ema = 0.99
#include <retort/plugin.h>

#include "consistency_training.h"
#include "weighting.h"

using namespace retort;

class Ct final : public Loss {
 public:
  explicit Ct(Params& p) : distance_(p), target_(p, "ema", 0.99), weighting_(p) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.schedule = true}; }
  std::vector<Role> roles() const override { return target_.roles(); }

  LossValue operator()(const TrainingStep& step) const override {
    const auto [t, s] = draw_neighbours(step);
    const TrainingPair f = training_pair(step, t, s, step.noise());
    return {weighting_(distance_(f.prediction, f.target), step.student, t, s), t};
  }

 private:
  Distance distance_;
  TargetNetwork target_;
  Weighting weighting_;
};

RETORT_PLUGIN(Ct, loss, ct)
