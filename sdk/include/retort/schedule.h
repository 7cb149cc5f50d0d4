/// The grid of times that solvers step over and training draws from.
#pragma once

#include "retort/process.h"

namespace retort {

class RETORT_API Schedule {
 public:
  static constexpr const char* kind = "schedule";
  using Interface = Schedule;
  virtual ~Schedule();

  /// Strictly falling times [N + 1] float64, from the noisiest to the cleanest. `progress` in [0, 1] is how far
  /// training has come, for schedules whose grid changes with it.
  virtual Tensor times(const Process& process, double progress = 0.0) const = 0;

  /// Whether the grid changes with `progress` (a curriculum): it then never has fewer intervals later than before.
  virtual bool changes() const;

  /// Indices [count] int64 in 0 … intervals - 1 of the intervals to train on; uniform unless overridden.
  virtual Tensor draw(int64_t intervals, int64_t count, at::Generator generator) const;
};

}  // namespace retort
