/// What seeds can tell: means with intervals, and differences between settings that share their noise and data.
#pragma once

#include <cstdint>
#include <vector>

namespace retort {

/// Fewer values than this give an interval, but no verdict.
inline constexpr int64_t least_for_verdict = 5;

struct Interval {
  int64_t count = 0;
  double mean = 0;
  double deviation = 0;      // standard deviation, n - 1; 0 for a single value
  double low = 0, high = 0;  // of the mean; equal to it for a single value
};

/// The mean of the values with a bootstrap confidence interval: the expanded percentile interval of Hesterberg (2015,
/// The American Statistician 69, 371-386), which widens the percentiles as Student's t does, since plain percentiles
/// are too narrow for few values. The same values give the same interval.
Interval bootstrap_mean(const std::vector<double>& values, double level = 0.95);

/// -1 or +1 where the interval of differences lies on one side of zero and rests on enough values; 0: nothing can be
/// said.
int verdict(const Interval& differences);

}  // namespace retort
