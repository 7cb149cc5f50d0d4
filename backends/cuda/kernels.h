/// The kernels of backend `cuda`, launched on a stream; they know nothing of LibTorch. float32, dense.
#pragma once

#include <cuda_runtime_api.h>
#include <retort/arithmetic.h>

#include <cstdint>

namespace retort::cuda {

/// out[r, i] = a[r] x[r, i] + b[r] y[r, i]
cudaError_t weighted_sum(const float* a, const float* x, const float* b, const float* y, float* out, int64_t rows,
                         int64_t columns, cudaStream_t stream);
/// out[r] = mean over i of measure(p[r, i] - q[r, i], c)
cudaError_t mean_measure(arithmetic::Measure kind, const float* p, const float* q, float c, float* out, int64_t rows,
                         int64_t columns, cudaStream_t stream);
/// out[r, i] = factor[r] slope(p[r, i] - q[r, i], c)
cudaError_t slope(arithmetic::Measure kind, const float* p, const float* q, float c, const float* factor, float* out,
                  int64_t rows, int64_t columns, cudaStream_t stream);

}  // namespace retort::cuda
