/// The curriculum of consistency training: Karras's levels, whose number grows as the root of the steps trained.
///
/// After a fraction p of the training there are max(1, ceil(sqrt(p ((s1 + 1)^2 - s0^2) + s0^2) - 1)) intervals: s0
/// levels at first, s1 + 1 in the end. Intervals are drawn evenly.
/// Source: Song et al. 2023 (arXiv 2303.01469), appendix C; the "progressive" scale mode of its code.
///
///     [schedule]
///     type = "progressive"
///     s0 = 2
///     s1 = 150
#include <retort/plugin.h>

#include <algorithm>

#include "level_grid.h"

using namespace retort;

class Progressive final : public Schedule {
 public:
  explicit Progressive(Params& p)
      : s0_(p.get("s0", 2, "noise levels at first", at_least(2))),
        s1_(p.get("s1", 150, "intervals in the end", at_least(1))),
        range_(p),
        rho_(p.get("rho", 7.0, "exponent; higher values put more levels near sigma_min", more_than(0))) {
    if (s0_ > s1_ + 1) {
      throw p.error("s0", "is above s1 + 1; expected s0 <= s1 + 1");
    }
  }

  Tensor times(const Process& process, double progress) const override {
    const Tensor places = at::linspace(0, 1, intervals(progress) + 1, at::kDouble);
    return process.time_of_noise_level(karras_levels(range_, rho_, places));
  }

  bool changes() const override { return intervals(1) > intervals(0); }

 private:
  int64_t intervals(double progress) const {
    const auto first = static_cast<double>(s0_), last = static_cast<double>(s1_ + 1);
    const double levels = std::sqrt(progress * (last * last - first * first) + first * first);
    return std::max<int64_t>(static_cast<int64_t>(std::ceil(levels - 1)), 1);
  }

  int64_t s0_, s1_;
  LevelRange range_;
  double rho_;
};

RETORT_PLUGIN(Progressive, schedule, progressive)
