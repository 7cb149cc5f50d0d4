/// What `cm` and `direct_cm` share: the draw of a noised sample on the grid. Drawn in one order from the step's own
/// random stream, so that both losses see the same times and noise.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

namespace retort {

struct NoisedSample {
  Tensor x;     // [B, …] at times t
  Tensor t;     // [B] float64, a time of the grid but the last
  Tensor s;     // [B] float64, the next time of the grid
  Tensor last;  // [B] bool: s ends the grid
  Tensor grid;  // [N + 1] float64
};

inline NoisedSample draw_noised_sample(const TrainingStep& step) {
  const Tensor grid = step.schedule->times(step.process, step.progress);
  const int64_t intervals = grid.size(0) - 1;
  const Tensor index = step.intervals(intervals);
  NoisedSample out;
  out.grid = grid;
  out.t = grid.index_select(0, index);
  out.s = grid.index_select(0, index + 1);
  out.last = index == intervals - 1;
  out.x = step.process.add_noise(step.batch.x, step.noise(), out.t);
  return out;
}

}  // namespace retort
