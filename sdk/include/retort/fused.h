/// Elementwise work that is done in one pass over memory.
#pragma once

#include <c10/core/DeviceType.h>

#include <vector>

#include "retort/arithmetic.h"
#include "retort/tensor.h"

namespace retort {

struct Term {
  Tensor coefficient;  // [B] float64, on the CPU
  Tensor value;        // [B, …]
};

/// The sum of coefficient * value, added in order. Differentiable in the values.
RETORT_API Tensor combine(const std::vector<Term>& terms);

/// The most terms that are added in one pass.
inline constexpr int most_terms = 6;

/// The mean over each sample's elements of measure(prediction - target, c): [B]. Differentiable, once.
RETORT_API Tensor mean_measure(arithmetic::Measure kind, const Tensor& prediction, const Tensor& target, double c = 0);

/// What a backend brings for its own device: float32, dense, `rows` samples of `columns` numbers, on the device's
/// current stream. Pointers are to the device's memory.
struct FusedKernels {
  /// `terms` values, 1 … most_terms. coefficients: [terms, rows]; values: that many pointers to [rows, columns], an
  /// array of the host's.
  void (*combine)(int terms, const float* coefficients, const float* const* values, float* out, int64_t rows,
                  int64_t columns);
  /// out: [rows], the means
  void (*mean_measure)(arithmetic::Measure kind, const float* prediction, const float* target, float c, float* out,
                       int64_t rows, int64_t columns);
  /// out: [rows, columns], the slope times factor[row]
  void (*slope)(arithmetic::Measure kind, const float* prediction, const float* target, float c, const float* factor,
                float* out, int64_t rows, int64_t columns);
};

/// Without kernels, a device does the same by LibTorch's operators, one after another.
RETORT_API void set_fused_kernels(c10::DeviceType device, const FusedKernels* kernels);

}  // namespace retort
