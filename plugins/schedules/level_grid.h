/// What grids of noise levels sigma / alpha share: their ends, their length, and the step to clean data.
#pragma once

#include <retort/schedule.h>

#include <ATen/ATen.h>

#include <cmath>

namespace retort {

/// The keys `sigma_min` and `sigma_max`.
struct LevelRange {
  double sigma_min, sigma_max;

  explicit LevelRange(Params& p)
      : sigma_min(p.get("sigma_min", 0.002, "least noise level before zero", more_than(0))),
        sigma_max(p.get("sigma_max", 80.0, "greatest noise level", more_than(0))) {
    if (sigma_min >= sigma_max) {
      throw p.error("sigma_min", "is not below sigma_max; expected sigma_min < sigma_max");
    }
  }
};

/// The keys `steps`, `sigma_min`, `sigma_max` and `final_zero`.
struct LevelGrid {
  int64_t steps;
  LevelRange range;
  bool final_zero;

  explicit LevelGrid(Params& p)
      : steps(p.get("steps", 18, "noise levels above zero; solver steps if final_zero, else one more than them",
                    at_least(2))),
        range(p),
        final_zero(p.get("final_zero", true, "end at sigma = 0")) {}

  /// i / (steps - 1), i = 0 … steps - 1.
  Tensor places() const { return at::arange(steps, at::kDouble) / static_cast<double>(steps - 1); }

  /// The times of falling levels [steps], and of 0 after them if final_zero.
  Tensor times(const Process& process, const Tensor& levels) const {
    return process.time_of_noise_level(final_zero ? at::cat({levels, at::zeros({1}, at::kDouble)}) : levels);
  }
};

/// Levels even in sigma^(1/rho), at places from 0 (sigma_max) to 1 (sigma_min): Karras et al. 2022, eq. 5.
inline Tensor karras_levels(const LevelRange& range, double rho, const Tensor& places) {
  const double from = std::pow(range.sigma_max, 1 / rho);
  const double to = std::pow(range.sigma_min, 1 / rho);
  return (from + places * (to - from)).pow(rho);
}

}  // namespace retort
