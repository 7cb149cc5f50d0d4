/// Elementwise work that is done in one pass over memory.
#pragma once

#include <c10/core/DeviceType.h>

#include "retort/arithmetic.h"
#include "retort/tensor.h"

namespace retort {

/// a x + b y with coefficients [B] (float64, on the CPU) for x, y: [B, …].
RETORT_API Tensor weighted_sum(const Tensor& a, const Tensor& x, const Tensor& b, const Tensor& y);

/// The mean over each sample's elements of measure(prediction - target, c): [B]. Differentiable, once.
RETORT_API Tensor mean_measure(arithmetic::Measure kind, const Tensor& prediction, const Tensor& target, double c = 0);

/// What a backend brings for its own device: float32, dense, `rows` samples of `columns` numbers, on the device's
/// current stream. Pointers are to the device's memory.
struct FusedKernels {
  /// a, b: [rows]
  void (*weighted_sum)(const float* a, const float* x, const float* b, const float* y, float* out, int64_t rows,
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
