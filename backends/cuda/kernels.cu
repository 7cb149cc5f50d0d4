#include "kernels.h"

namespace retort::cuda {

namespace {

constexpr int threads = 256;

// Blocks that cover `count` numbers; more than the card holds at once gain nothing, so each thread strides.
unsigned int blocks_for(int64_t count) {
  constexpr int64_t most = 4096;
  const int64_t blocks = (count + threads - 1) / threads;
  return static_cast<unsigned int>(blocks < most ? blocks : most);
}

constexpr int most_terms = 6;

// Pointers that travel with the launch.
struct Values {
  const float* of[most_terms];
};

template <int n>
__global__ void combine_kernel(const float* coefficients, Values values, float* out, int64_t rows, int64_t columns) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x, count = rows * columns;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    out[i] = arithmetic::combine<n>(coefficients + i / columns, rows, values.of, i);
  }
}

__global__ void slope_kernel(arithmetic::Measure kind, const float* p, const float* q, float c, const float* factor,
                             float* out, int64_t count, int64_t columns) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    out[i] = factor[i / columns] * arithmetic::slope(kind, p[i] - q[i], c);
  }
}

// A block for each row. The order of the sum is fixed, so equal inputs give equal results.
__global__ void mean_measure_kernel(arithmetic::Measure kind, const float* p, const float* q, float c, float* out,
                                    int64_t columns) {
  __shared__ float sums[threads];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * columns;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < columns; i += threads) {
    sum += arithmetic::measure(kind, p[begin + i] - q[begin + i], c);
  }
  sums[threadIdx.x] = sum;
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) {
      sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    out[blockIdx.x] = sums[0] / static_cast<float>(columns);
  }
}

}  // namespace

cudaError_t combine(int terms, const float* coefficients, const float* const* values, float* out, int64_t rows,
                    int64_t columns, cudaStream_t stream) {
  Values all{};
  for (int k = 0; k < terms; ++k) {
    all.of[k] = values[k];
  }
  const auto launch = [&](auto kernel) {
    kernel<<<blocks_for(rows * columns), threads, 0, stream>>>(coefficients, all, out, rows, columns);
    return cudaGetLastError();
  };
  switch (terms) {
    case 1:
      return launch(combine_kernel<1>);
    case 2:
      return launch(combine_kernel<2>);
    case 3:
      return launch(combine_kernel<3>);
    case 4:
      return launch(combine_kernel<4>);
    case 5:
      return launch(combine_kernel<5>);
    default:
      return launch(combine_kernel<6>);
  }
}

cudaError_t mean_measure(arithmetic::Measure kind, const float* p, const float* q, float c, float* out, int64_t rows,
                         int64_t columns, cudaStream_t stream) {
  mean_measure_kernel<<<static_cast<unsigned int>(rows), threads, 0, stream>>>(kind, p, q, c, out, columns);
  return cudaGetLastError();
}

cudaError_t slope(arithmetic::Measure kind, const float* p, const float* q, float c, const float* factor, float* out,
                  int64_t rows, int64_t columns, cudaStream_t stream) {
  slope_kernel<<<blocks_for(rows * columns), threads, 0, stream>>>(kind, p, q, c, factor, out, rows * columns, columns);
  return cudaGetLastError();
}

}  // namespace retort::cuda
