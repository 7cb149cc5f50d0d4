/// The weights of linear multistep methods.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>

namespace retort {

constexpr int most_values = 4;

/// Weights w of values at r[0] … r[count - 1] under which sum_j w_j r_j^k = m[k] for k < count.
inline void solve_moments(int count, const double* r, const double* m, double* w) {
  for (int j = 0; j < count; ++j) {
    std::array<double, most_values> basis = {1};  // the coefficients of Lagrange's polynomial that is 1 at r_j
    for (int i = 0, degree = 0; i < count; ++i) {
      if (i == j) {
        continue;
      }
      ++degree;
      for (int k = degree; k >= 0; --k) {
        const auto at = static_cast<size_t>(k);
        basis[at] = ((k > 0 ? basis[at - 1] : 0) - r[i] * basis[at]) / (r[j] - r[i]);
      }
    }
    w[j] = 0;
    for (int k = 0; k < count; ++k) {
      w[j] += basis[static_cast<size_t>(k)] * m[k];
    }
  }
}

/// The weights of equal steps for z = 0 (Hairer, Norsett & Wanner 1993, III.1).
inline void adams_bashforth(int count, double* w) {
  constexpr std::array<std::array<double, most_values>, most_values> table = {
      {{1}, {3.0 / 2, -1.0 / 2}, {23.0 / 12, -16.0 / 12, 5.0 / 12}, {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24}}};
  std::copy_n(table[static_cast<size_t>(count - 1)].begin(), count, w);
}

}  // namespace retort
