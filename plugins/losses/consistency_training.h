/// What losses of consistency training share: f at both ends of a way from data to noise, in place of a teacher's.
#pragma once

#include "consistency_step.h"

namespace retort {

struct TrainingPair {
  Tensor prediction;  // f(x_t, t), differentiable
  Tensor target;      // the target network's f(x_s, s), without gradients
};

/// Both states have the same noise. x itself is the target where s is without noise.
inline TrainingPair training_pair(const TrainingStep& step, const Tensor& t, const Tensor& s, const Tensor& noise) {
  const auto noised = [&](const Tensor& time) { return step.process.add_noise(step.batch.x, noise, time); };
  const Tensor target = TargetNetwork::consistency(step, noised(s), s, step.process.sigma(s) == 0);
  return {step.student.consistency(noised(t), t, step.batch.condition), target};
}

/// A neighbouring pair of times of the grid.
struct Neighbours {
  Tensor t, s;  // [B] float64
};
inline Neighbours draw_neighbours(const TrainingStep& step) {
  const Tensor grid = step.schedule->times(step.process, step.progress);
  const Tensor index = step.intervals(grid.size(0) - 1);
  return {grid.index_select(0, index), grid.index_select(0, index + 1)};
}

}  // namespace retort
