#include "sample/student_times.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace retort {

namespace {

// The least value between two places, by golden sections: where it is, and how much.
template <class F>
std::pair<double, double> golden(double low, double high, int64_t sections, F value) {
  constexpr double share = 1 / std::numbers::phi;
  double left = high - share * (high - low), right = low + share * (high - low);
  double at_left = value(left), at_right = value(right);
  for (int64_t i = 0; i < sections; ++i) {
    if (at_left < at_right) {
      high = right;
      right = left;
      at_right = at_left;
      left = high - share * (high - low);
      at_left = value(left);
    } else {
      low = left;
      left = right;
      at_left = at_right;
      right = low + share * (high - low);
      at_right = value(right);
    }
  }
  return at_left < at_right ? std::pair(left, at_left) : std::pair(right, at_right);
}

// Where the process is a table of steps, its nearest step between the neighbours: networks know no others.
void keep_to_steps(const Process& process, const Tensor& times, int64_t k) {
  if (process.steps() > 0) {
    const double before = times[k - 1].item<double>(), after = times[k + 1].item<double>();
    const double least = std::floor(after) + 1, most = std::ceil(before) - 1;
    times[k].fill_(std::clamp(std::round(times[k].item<double>()), least, std::max(least, most)));
  }
}

}  // namespace

Tensor search_sampler_times(const Process& process, const Tensor& times, int64_t rounds,
                            const std::function<double(const Tensor&)>& value,
                            const std::function<void(int64_t, double)>& said) {
  // Beyond these signal to noise ratios the place of a time makes no difference; an end may lie at infinity.
  constexpr double least = -7, most = 7;
  constexpr int64_t sections = 6;  // which leave a twentieth of the way
  Tensor best = times.clone();
  double best_value = value(best);
  for (int64_t round = 1; round <= rounds; ++round) {
    const double before = best_value;
    for (int64_t k = 1; k + 1 < best.size(0); ++k) {
      const Tensor lambda = process.lambda(best).clamp(least, most);
      const double low = lambda[k - 1].item<double>(), high = lambda[k + 1].item<double>();
      const auto with = [&](double place) {
        Tensor tried = best.clone();
        tried[k] = process.time(at::full({1}, place, at::kDouble))[0];
        keep_to_steps(process, tried, k);
        return tried;
      };
      const double margin = 0.02 * (high - low);  // times stay apart
      const auto [place, found] =
          golden(low + margin, high - margin, sections, [&](double there) { return value(with(there)); });
      if (found < best_value) {
        best = with(place);
        best_value = found;
      }
    }
    said(round, best_value);
    if (best_value >= before) {
      break;  // none moved
    }
  }
  return best;
}

}  // namespace retort
