/// Noise levels even in arctan(sigma / sigma_data), the best grid for Euler's steps on Gaussian data.
///
/// sigma_i = sigma_data tan((1 - u_i) arctan(sigma_max / sigma_data) + u_i arctan(sigma_min / sigma_data)), with
/// u_i = i / (steps - 1), i = 0 … steps - 1, and 0 appended if final_zero. Levels are sigma / alpha, as for `karras`.
/// On Gaussian data of deviation sigma_data an Euler step by the angle d shrinks x by cos d; even angles shrink least.
/// Source: Sabour et al. 2024 (Align Your Steps, arXiv 2404.14507), section 3.
///
///     [schedule]
///     type = "kl_optimal"
///     steps = 18
///     sigma_data = 1.0
#include <retort/plugin.h>

#include "level_grid.h"

using namespace retort;

class KlOptimal final : public Schedule {
 public:
  explicit KlOptimal(Params& p)
      : grid_(p), sigma_data_(p.get("sigma_data", 1.0, "standard deviation of the data", more_than(0))) {}

  Tensor times(const Process& process, double) const override {
    const double from = std::atan(grid_.range.sigma_max / sigma_data_);
    const double to = std::atan(grid_.range.sigma_min / sigma_data_);
    return grid_.times(process, sigma_data_ * (from + grid_.places() * (to - from)).tan());
  }

 private:
  LevelGrid grid_;
  double sigma_data_;
};

RETORT_PLUGIN(KlOptimal, schedule, kl_optimal)
