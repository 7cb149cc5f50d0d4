/// The kernels that oneDNN lacks, by Highway.
#pragma once

#include <vector>

#include "kernels.h"

namespace retort_onednn {

void group_norm(const Norm& norm);
void group_norm_gradient(const NormGradient& gradient);
void attention(const Attention& attention);

/// A 3 x 3 convolution with padding 1 and stride 1; channels are multiples of 16.
struct WinogradShape {
  int64_t batch, height, width, in_channels, out_channels;
  bool bfloat16;
  float factor;
  bool silu;
  int64_t scratch_bytes;  // to work in, for each thread
};

/// dst = silu?(factor * (convolution + residual)); bias and residual may be null.
void winograd(const WinogradShape& shape, const float* weights, const float* bias, const void* src,
              const void* residual, void* dst);
/// Transforms weights [out, in, 3, 3].
void pack_for_winograd(int64_t out_channels, int64_t in_channels, const float* weights, std::vector<float>& packed);

/// Gradients of weights [out, in, 3, 3] and bias [out], float32.
void winograd_gradient(const WinogradShape& shape, const float* src, const float* gradient, float* weights,
                       float* bias);

}  // namespace retort_onednn
