#include "train/profiles.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace retort {

// The cubic is convex right of -7/3 and positive at 1 / length, so Newton's steps from there fall to the root.
double power_exponent(double length) {
  constexpr int most = 100;
  const double s = 1 / (length * length);
  double g = 1 / length;
  for (int i = 0; i < most; ++i) {
    const double value = ((g + 7) * g + 16 - s) * g + 12 - s;
    const double next = g - value / ((3 * g + 14) * g + 16 - s);
    if (!(next < g)) {
      break;
    }
    g = next;
  }
  return g;
}

double power_length(double gamma) { return std::sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2); }

double power_decay(double gamma, double time) { return std::pow(1 - 1 / time, gamma + 1); }

double inner_product(const PowerProfile& a, const PowerProfile& b) {
  const double later = std::max(a.time, b.time);
  const double of_earlier = a.time < b.time ? b.gamma : a.gamma;  // the exponent of the one that goes on
  const double ratio = std::min(a.time, b.time) / later;
  return (a.gamma + 1) * (b.gamma + 1) * std::pow(ratio, of_earlier) / ((a.gamma + b.gamma + 1) * later);
}

Mixture mix(const std::vector<PowerProfile>& from, const PowerProfile& wanted) {
  const auto n = static_cast<int64_t>(from.size());
  const Tensor products = at::empty({n, n}, at::kDouble), with = at::empty({n, 1}, at::kDouble);
  auto p = products.accessor<double, 2>(), w = with.accessor<double, 2>();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      p[i][j] = inner_product(from[static_cast<size_t>(i)], from[static_cast<size_t>(j)]);
    }
    w[i][0] = inner_product(from[static_cast<size_t>(i)], wanted);
  }
  Tensor shares = at::linalg_solve(products, with);
  shares = shares / shares.sum();
  const double whole = inner_product(wanted, wanted);
  const Tensor missed = whole - 2 * (shares * with).sum() + (shares * products.matmul(shares)).sum();
  Mixture out{{}, std::sqrt(std::max(0.0, missed.item<double>()) / whole)};
  const double* values = shares.contiguous().const_data_ptr<double>();
  out.shares.assign(values, values + n);
  return out;
}

}  // namespace retort
