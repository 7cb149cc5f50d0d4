#include "sweep/statistics.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <random>

namespace retort {

namespace {

constexpr size_t resamples = 10000;

// Which values each resample takes: first[r], then second[r], …. The same for all lists of one length, so they are
// drawn once; the numbers of the generator are in the order of the resamples.
std::vector<uint32_t> draw(size_t n) {
  std::vector<uint32_t> out(n * resamples);
  std::mt19937_64 random(20150714);
  for (size_t r = 0; r < resamples; ++r) {
    for (size_t i = 0; i < n; ++i) {
      out[i * resamples + r] = static_cast<uint32_t>(random() % n);
    }
  }
  return out;
}

const std::vector<uint32_t>& draws(size_t n) {
  static std::mutex mutex;
  static std::map<size_t, std::vector<uint32_t>> known;
  const std::lock_guard lock(mutex);
  const auto found = known.find(n);
  return found != known.end() ? found->second : known.emplace(n, draw(n)).first->second;
}

std::vector<double> resampled_means(const std::vector<double>& values) {
  const size_t n = values.size();
  constexpr size_t most_remembered = 64;  // seeds; more are rare, and their draws would fill the memory
  std::vector<uint32_t> own;
  if (n > most_remembered) {
    own = draw(n);
  }
  const std::vector<uint32_t>& which = n > most_remembered ? own : draws(n);
  std::vector<double> means(resamples, 0.0);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t* row = which.data() + i * resamples;
    for (size_t r = 0; r < resamples; ++r) {
      means[r] += values[row[r]];
    }
  }
  for (double& mean : means) {
    mean /= static_cast<double>(n);
  }
  return means;
}

// By linear interpolation between the sorted values, of which only the nearer end is put in order.
double quantile(std::vector<double>& values, double q) {
  const size_t last = values.size() - 1;
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(last);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, last);
  const double share = at - static_cast<double>(below);
  const auto first = [&](size_t count) { return values.begin() + static_cast<std::ptrdiff_t>(count); };
  if (below < last / 2) {
    std::partial_sort(values.begin(), first(above + 1), values.end());
    return std::lerp(values[below], values[above], share);
  }
  std::partial_sort(values.begin(), first(last - below + 1), values.end(), std::greater<>());
  return std::lerp(values[last - below], values[last - above], share);
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
  std::vector<double> means = resampled_means(values);
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
