/// The curriculum of improved consistency training: Karras's levels, whose number doubles as training goes on.
///
/// After a fraction k / K of the steps there are N(k) = min(s0 2^floor(k / K'), s1) intervals, with
/// K' = floor(K / (log2(s1 / s0) + 1)). Intervals are drawn as log sigma is normal: with a weight of
/// erf((log sigma_{i+1} - m) / (sqrt 2 s)) - erf((log sigma_i - m) / (sqrt 2 s)).
/// Source: Song & Dhariwal 2023 (arXiv 2310.14189), sections 3.4 and 3.5.
///
///     [schedule]
///     type = "ict"
///     s0 = 10
///     s1 = 1280
#include <retort/plugin.h>

#include <algorithm>
#include <cmath>

#include "level_grid.h"

using namespace retort;

class IctSchedule final : public Schedule {
 public:
  explicit IctSchedule(Params& p)
      : s0_(p.get("s0", 10, "intervals at first", at_least(1))),
        s1_(p.get("s1", 1280, "intervals in the end, at most", at_least(1))),
        range_(p),
        rho_(p.get("rho", 7.0, "exponent; higher values put more levels near sigma_min", more_than(0))),
        mean_(p.get("log_sigma_mean", -1.1, "mean of log sigma of the intervals that are drawn")),
        std_(p.get("log_sigma_std", 2.0, "its standard deviation", more_than(0))) {
    if (s0_ > s1_) {
      throw p.error("s0", "is above s1; expected s0 <= s1");
    }
  }

  Tensor times(const Process& process, double progress) const override {
    return process.time_of_noise_level(levels(intervals(progress)));
  }

  bool changes() const override { return s1_ > s0_; }

  Tensor draw(int64_t count, int64_t rows, at::Generator generator) const override {
    const Tensor at = at::erf((levels(count).log() - mean_) / (std::sqrt(2.0) * std_));
    return at::multinomial(at.narrow(0, 0, count) - at.narrow(0, 1, count), rows, /*replacement=*/true, generator);
  }

 private:
  int64_t intervals(double progress) const {
    const double parts = std::log2(static_cast<double>(s1_) / static_cast<double>(s0_)) + 1;
    const double doublings = std::floor(progress * parts + 1e-9);  // a step that was computed as a fraction
    return std::min(static_cast<int64_t>(static_cast<double>(s0_) * std::exp2(std::min(doublings, 40.0))), s1_);
  }

  // [count + 1], falling.
  Tensor levels(int64_t count) const { return karras_levels(range_, rho_, at::linspace(0, 1, count + 1, at::kDouble)); }

  int64_t s0_, s1_;
  LevelRange range_;
  double rho_, mean_, std_;
};

RETORT_PLUGIN(IctSchedule, schedule, ict)
