/// The noise that a stochastic solver draws.
#pragma once

#include <functional>

#include "retort/tensor.h"

namespace retort {

/// Standard normal numbers that depend on (seed, row, step) alone: a row sees the same ones in whatever batch it is,
/// and beside whatever other rows. Drawn on the CPU in float32, so that every backend and precision sees the same.
class RETORT_API Noise {
 public:
  /// rows: [B] int64, what each row of the batch is called; undefined: 0, 1, 2 …
  explicit Noise(uint64_t seed = 0, Tensor rows = {});
  /// Noise that is brought along: `source` gives [B, …] for a step. To hold a solver against another's numbers.
  explicit Noise(std::function<Tensor(int64_t step)> source);

  /// [B, …] like x. A step that draws more than once counts its draws.
  Tensor normal(const Tensor& x, int64_t draw = 0) const;

  /// The same noise for a step of a solve, or for some rows.
  Noise at(int64_t step) const;
  Noise select(const Tensor& index) const;

 private:
  uint64_t seed_ = 0;
  Tensor rows_;
  std::function<Tensor(int64_t)> source_;
  int64_t step_ = 0;
};

}  // namespace retort
