#include "sweep/statistics.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>
#include <random>

namespace retort {

namespace {

// By linear interpolation between the sorted values.
double quantile(const std::vector<double>& sorted, double q) {
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

}  // namespace

Interval bootstrap_mean(const std::vector<double>& values, double level) {
  Interval out;
  out.count = static_cast<int64_t>(values.size());
  if (values.empty()) {
    return out;
  }
  const auto n = static_cast<double>(values.size());
  out.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  out.low = out.high = out.mean;
  if (values.size() == 1) {
    return out;
  }
  double squares = 0;
  for (const double v : values) {
    squares += (v - out.mean) * (v - out.mean);
  }
  out.deviation = std::sqrt(squares / (n - 1));
  constexpr int resamples = 10000;
  std::mt19937_64 random(20150714);
  std::vector<double> means(resamples);
  for (double& mean : means) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      sum += values[random() % values.size()];
    }
    mean = sum / n;
  }
  std::sort(means.begin(), means.end());
  const double t = boost::math::quantile(boost::math::students_t(n - 1), (1 - level) / 2);
  const double tail = boost::math::cdf(boost::math::normal(), std::sqrt(n / (n - 1)) * t);
  out.low = quantile(means, tail);
  out.high = quantile(means, 1 - tail);
  return out;
}

int verdict(const Interval& differences) {
  if (differences.count < least_for_verdict) {
    return 0;
  }
  return differences.low > 0 ? 1 : differences.high < 0 ? -1 : 0;
}

}  // namespace retort
