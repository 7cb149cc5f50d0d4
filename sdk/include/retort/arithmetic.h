/// The arithmetic of the fused loops, shared by processors and graphics cards: one formula, one place.
#pragma once

#include <cmath>

#ifdef __CUDACC__
#define RETORT_EVERYWHERE __host__ __device__
#else
#define RETORT_EVERYWHERE
#endif

namespace retort::arithmetic {

/// a x + b y: every solver's update, and every change of parametrisation.
template <class T>
RETORT_EVERYWHERE inline T weighted_sum(T a, T x, T b, T y) {
  return a * x + b * y;
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
