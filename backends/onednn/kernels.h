/// What the library of kernels offers, as a table of plain functions. That library links oneDNN and not LibTorch, and
/// is loaded with RTLD_DEEPBIND: LibTorch exports inline functions of its own oneDNN, which would otherwise win over
/// those of this one and break its matrix products.
///
/// Pictures are channels-last, [n, height, width, channels]; `bfloat16` says whether they are bfloat16 or float32.
#pragma once

#include <cstdint>

namespace retort_onednn {

struct ConvolutionShape {
  int64_t batch, in_channels, in_height, in_width, out_channels, out_height, out_width;
  int64_t kernel_height, kernel_width, stride_height, stride_width, padding_height, padding_width;
  int64_t dilation_height, dilation_width, groups;
  bool bfloat16;
  bool bias;
  /// dst = factor * (convolution + residual)
  bool residual;
  float factor;
};

struct NormShape {
  int64_t batch, positions, channels, groups;
  float epsilon;
  bool silu;
  bool bfloat16;
};

struct Convolution;

struct Kernels {
  /// oneDNN's version and the instruction set that it uses.
  const char* (*describe)();

  /// Null where oneDNN has no implementation.
  Convolution* (*make_convolution)(const ConvolutionShape& shape);
  void (*free_convolution)(Convolution* convolution);
  /// Packs weights [out, in / groups, kernel_height, kernel_width] and bias [out] or null, both float32 and contiguous.
  void (*set_weights)(Convolution* convolution, const float* weight, const float* bias);
  /// Lets one convolution use the weights that are packed for another, now and later; false where it needs another
  /// layout.
  bool (*share_weights)(Convolution* convolution, const Convolution* packed);
  /// `residual` is of dst's shape, or null.
  void (*convolve)(Convolution* convolution, const void* src, const void* residual, void* dst);
  /// The primitive that oneDNN chose.
  const char* (*implementation)(const Convolution* convolution);

  /// dst = silu?((group_norm(src) * weight + bias) * scale + shift). weight, bias: [channels] or null; scale, shift:
  /// [batch, channels] float32 with the given stride between rows, or null.
  void (*group_norm)(const NormShape& shape, const void* src, const float* weight, const float* bias,
                     const float* scale, const float* shift, int64_t row_stride, void* dst);

  /// C = A B, row-major float32, by oneDNN; its status, 0 for success.
  int (*gemm)(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c);
};

}  // namespace retort_onednn

/// The one symbol of the library.
extern "C" __attribute__((visibility("default"))) const retort_onednn::Kernels* retort_onednn_kernels();
