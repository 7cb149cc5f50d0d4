/// The kernels of backend `cuda`, launched on a stream; they know nothing of LibTorch. float32, dense.
#pragma once

#include <cuda_runtime_api.h>
#include <retort/arithmetic.h>

#include <cstdint>

namespace retort::cuda {

/// out[r, i] = the sum over `terms` (1 … 6) of coefficients[k, r] values[k][r, i]; `values` is an array of the host's.
cudaError_t combine(int terms, const float* coefficients, const float* const* values, float* out, int64_t rows,
                    int64_t columns, cudaStream_t stream);
/// out[r] = mean over i of measure(p[r, i] - q[r, i], c)
cudaError_t mean_measure(arithmetic::Measure kind, const float* p, const float* q, float c, float* out, int64_t rows,
                         int64_t columns, cudaStream_t stream);
/// out[r, i] = factor[r] slope(p[r, i] - q[r, i], c)
cudaError_t slope(arithmetic::Measure kind, const float* p, const float* q, float c, const float* factor, float* out,
                  int64_t rows, int64_t columns, cudaStream_t stream);

}  // namespace retort::cuda
