/// The noise that a stochastic solver draws.
#pragma once

#include <functional>

#include "retort/times.h"

namespace retort {

/// Standard normal numbers that depend on (seed, row, step) alone: a row sees the same ones in whatever batch it is,
/// and beside whatever other rows. Drawn on the CPU in float32, so that every backend and precision sees the same.
class RETORT_API Noise {
 public:
  /// rows: [B] int64, what each row of the batch is called; undefined: 0, 1, 2 …
  explicit Noise(uint64_t seed = 0, Tensor rows = {});
  /// Noise that is brought along: `source` gives [B, …] for a draw of a step. To hold a solver against another's
  /// numbers.
  explicit Noise(std::function<Tensor(int64_t step, int64_t draw)> source);

  /// [B, …] like x. A step that draws more than once counts its draws.
  Tensor normal(const Tensor& x, int64_t draw = 0) const;

  /// Standard normal numbers [B, …] like x, as `normal`, but cut from one Brownian path of each row: the increment of
  /// W(u) from `from` to `to`, over sqrt(u_to - u_from), with u = (alpha / sigma)^(2 power). So a solve with more steps
  /// sees the same path at more places. The noise that the reverse SDE with eta = power adds grows as W(u) does,
  /// wherever the steps end (Lu et al. 2022, arXiv 2211.01095, eq. 18: sigma_t^2 (1 - e^{-2 h}) is sigma_t^4 (u_t -
  /// u_s) where alpha = 1). A path has 2^16 places between the ends of time; within one place, and into sigma = 0,
  /// the numbers are `normal(x, draw)`. Beyond that `draw` counts only for noise that is brought along.
  Tensor brownian(const Tensor& x, const Times& from, const Times& to, double power = 1, int64_t draw = 0) const;

  /// The same noise for a step of a solve, or for some rows.
  Noise at(int64_t step) const;
  Noise select(const Tensor& index) const;

 private:
  int64_t name(int64_t row) const;

  uint64_t seed_ = 0;
  Tensor rows_;
  std::function<Tensor(int64_t, int64_t)> source_;
  int64_t step_ = 0;
};

}  // namespace retort
