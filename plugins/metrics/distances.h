/// Distances between all pairs of rows, in float64, for some rows at a time: of n and m rows 500 m numbers are in
/// memory.
#pragma once

#include <ATen/ATen.h>

#include "retort/tensor.h"

namespace retort {

inline constexpr int64_t rows_at_once = 500;

/// [n, m] between a: [n, F] and b: [m, F]. By differences: |a|^2 + |b|^2 - 2 a b, LibTorch's choice for many rows,
/// cancels.
inline Tensor distances(const Tensor& a, const Tensor& b) {
  constexpr int64_t by_differences = 2;
  return at::cdist(a, b, 2.0, by_differences);
}

/// The sum of f(distance) over all pairs; f takes and gives a tensor.
template <class F>
double sum_over_pairs(const Tensor& a, const Tensor& b, const F& f) {
  double out = 0;
  for (const Tensor& part : a.split(rows_at_once)) {
    out += f(distances(part, b)).sum().template item<double>();
  }
  return out;
}

}  // namespace retort
