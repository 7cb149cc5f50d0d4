/// The arithmetic of the fused loops, shared by processors and graphics cards: one formula, one place.
#pragma once

#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define RETORT_EVERYWHERE __host__ __device__
#else
#define RETORT_EVERYWHERE
#endif

namespace retort::arithmetic {

/// c_0 x_0[i] + c_1 x_1[i] + …, added in that order: every solver's update, and every change of parametrisation. The
/// coefficients of a term are `stride` apart.
template <int n, class T>
RETORT_EVERYWHERE inline T combine(const T* c, int64_t stride, const T* const* x, int64_t i) {
  T sum = c[0] * x[0][i];
  for (int k = 1; k < n; ++k) {
    sum += c[k * stride] * x[k][i];
  }
  return sum;
}

/// Of one element d = prediction - target: d^2, |d|, or sqrt(d^2 + c^2) - c without cancellation for small d.
enum class Measure { square, absolute, pseudo_huber };

template <class T>
RETORT_EVERYWHERE inline T measure(Measure kind, T d, T c) {
  switch (kind) {
    case Measure::square:
      return d * d;
    case Measure::absolute:
      return d < 0 ? -d : d;
    default:
      return d * d / (std::sqrt(d * d + c * c) + c);
  }
}

/// Its derivative.
template <class T>
RETORT_EVERYWHERE inline T slope(Measure kind, T d, T c) {
  switch (kind) {
    case Measure::square:
      return 2 * d;
    case Measure::absolute:
      return d > 0 ? T(1) : d < 0 ? T(-1) : T(0);
    default:
      return d / std::sqrt(d * d + c * c);
  }
}

}  // namespace retort::arithmetic
