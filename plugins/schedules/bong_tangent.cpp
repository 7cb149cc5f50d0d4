/// Times along two arctangents, one from noise to the middle and one from there to data.
///
/// t_i = t_min + g_i (t_max - t_min). Of steps + 2 points, floor(pivot (steps + 2)) are before the cut. There
/// g = arctan(k (c - i)), c the cut, is scaled to fall from 1 to `middle`; after it, to fall from `middle` to 0. The
/// parts share the point in the middle, and k = 40 slope / (steps + 2).
/// Source: RES4LYF, its scheduler of this name, which is for flows: t in [0, 1].
///
///     [schedule]
///     type = "bong_tangent"
///     steps = 20
///     middle = 0.5
///     slope = 0.2
#include <retort/plugin.h>

#include "time_span.h"

using namespace retort;

class BongTangent final : public Schedule {
 public:
  explicit BongTangent(Params& p)
      : span_(p, 20, 2),
        middle_(p.get("middle", 0.5, "where the parts meet, as a share of the way from t_min to t_max", inside)),
        pivot_(p.get("pivot", 0.6, "share of the points before the cut", inside)),
        slope_(p.get("slope", 0.2, "of the arctangents at the cut; higher values put more times near t_max and t_min",
                     more_than(0))) {
    if (cut() < 2 || cut() > span_.steps) {
      throw p.error("pivot", "leaves a part without steps; expected one nearer to 0.5, or more steps");
    }
  }

  Tensor times(const Process& process, double) const override {
    const Tensor before = part(cut(), static_cast<double>(cut()), 1, middle_);
    const Tensor after = part(span_.steps + 2 - cut(), 0, middle_, 0);
    return span_.times(process, at::cat({before.narrow(0, 0, cut() - 1), after}));
  }

 private:
  static constexpr Range inside = {.low = 0, .high = 1, .low_open = true, .high_open = true};

  // The number of points of the first part; its last one is the second part's first.
  int64_t cut() const { return static_cast<int64_t>(static_cast<double>(span_.steps + 2) * pivot_); }

  // `count` shares from `from` down to `to`, steepest at the point `steepest`.
  Tensor part(int64_t count, double steepest, double from, double to) const {
    const double k = slope_ * 40 / static_cast<double>(span_.steps + 2);
    const Tensor g = (-k * (at::arange(count, at::kDouble) - steepest)).atan();
    return to + (g - g[-1]) / (g[0] - g[-1]) * (from - to);
  }

  TimeSpan span_;
  double middle_, pivot_, slope_;
};

RETORT_PLUGIN(BongTangent, schedule, bong_tangent)
