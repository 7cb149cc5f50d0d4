/// What the library of kernels offers, as a table of plain functions. That library links oneDNN and not LibTorch, and
/// is loaded with RTLD_DEEPBIND: LibTorch exports inline functions of its own oneDNN, which would otherwise win over
/// those of this one and break its matrix products.
///
/// Pictures are channels-last, [n, height, width, channels]; `bfloat16` says whether they are bfloat16 or float32.
#pragma once

#include <cstdint>

namespace retort_onednn {

/// A linear layer is a 1 x 1 convolution of a picture that is one row high.
struct ConvolutionShape {
  int64_t batch, in_channels, in_height, in_width, out_channels, out_height, out_width;
  int64_t kernel_height = 1, kernel_width = 1, stride_height = 1, stride_width = 1;
  int64_t padding_height = 0, padding_width = 0, dilation_height = 1, dilation_width = 1, groups = 1;
  bool bfloat16 = false;
  bool bias = false;
  /// dst = silu?(factor * (convolution + residual))
  bool residual = false;
  float factor = 1;
  bool silu = false;
};

/// Means of windows, which count no padding.
struct PoolShape {
  int64_t batch, channels, in_height, in_width, out_height, out_width;
  int64_t kernel_height, kernel_width, stride_height, stride_width;
  bool bfloat16;
};

struct ConcatShape {
  static constexpr int64_t most = 4;
  int64_t positions;  // over the batch
  int64_t count;
  int64_t channels[most];
  bool bfloat16;
};

/// A primitive of oneDNN with what it reads and writes.
struct Operation;

/// A vector of numbers for each row of a batch: numbers of row n begin at data + n * stride. Null for none.
struct Rows {
  const float* data = nullptr;
  int64_t stride = 0;
};

struct Norm {
  int64_t batch, positions, channels, groups;
  float epsilon;
  bool silu;
  bool bfloat16;
  /// src and dst may be one.
  const void* src;
  void* dst;
  const float *weight, *bias;  // [channels] or null
  Rows added;                  // to src, before all else
  Rows scale, shift;           // of the normalised
  float scale_offset;          // is added to scale
};

/// The gradient of a float32 norm, of what `norm` reads (without `added`); its dst is not used.
struct NormGradient {
  Norm norm;
  const float* gradient;  // by dst
  float* src_gradient;    // of src's shape
  /// With g the gradient before SiLU: sums over the positions of g, and of g times the normalised src. [batch,
  /// channels]
  float *sums, *products;
};

/// Positions lie `stride` numbers apart, numbers of a head side by side.
struct Heads {
  const void* data;
  int64_t batch_stride, head_stride, stride;
};

struct Attention {
  int64_t batch, heads, queries, keys, width, value_width;
  float scale;
  bool bfloat16;
  Heads query, key, value;
  void* dst;  // [batch, queries, heads, value_width]
};

struct Kernels {
  /// oneDNN's version and the instruction set that it uses.
  const char* (*describe)();
  /// Of the calling thread's work from now on.
  void (*set_threads)(int threads);
  /// How much may live between the layers of a network for a chunk of rows to run fast: what fits a core's own cache
  /// where products are done directly; more where the rows of a chunk share Winograd's weights.
  int64_t (*chunk_bytes)(bool bfloat16);

  /// These give null where oneDNN has no implementation.
  Operation* (*make_convolution)(const ConvolutionShape& shape);
  Operation* (*make_pool)(const PoolShape& shape);
  void (*free_operation)(Operation* operation);
  /// The primitive that oneDNN chose.
  const char* (*implementation)(const Operation* operation);
  /// `residual` is of dst's shape, or null.
  void (*run)(Operation* operation, const void* src, const void* residual, void* dst);

  /// Packs a convolution's weights [out, in / groups, kernel_height, kernel_width] and bias [out] or null, both float32
  /// and contiguous.
  void (*set_weights)(Operation* convolution, const float* weight, const float* bias);
  /// Lets one convolution use the weights that are packed for another, now and later; false where it needs another
  /// layout.
  bool (*share_weights)(Operation* convolution, const Operation* packed);

  /// Gradients of a float32 convolution's weights [out, in, height, width] and bias [out], from src and the gradient by
  /// dst. False, and nothing done, where there is no kernel.
  bool (*weight_gradient)(const ConvolutionShape& shape, const float* src, const float* gradient, float* weights,
                          float* bias);

  void (*concat)(const ConcatShape& shape, const void* const* src, void* dst);
  /// The nearest pixel, as LibTorch rounds it.
  void (*resize)(int64_t batch, int64_t in_height, int64_t in_width, int64_t out_height, int64_t out_width,
                 int64_t bytes_per_pixel, const void* src, void* dst);
  void (*group_norm)(const Norm& norm);
  void (*group_norm_gradient)(const NormGradient& gradient);
  /// softmax(scale * query key^T) value, computed in float32. Source: Vaswani et al. 2017, equation 1.
  void (*attention)(const Attention& attention);

  /// C = A B, row-major float32, by oneDNN; its status, 0 for success.
  int (*gemm)(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c);
};

}  // namespace retort_onednn

/// The one symbol of the library.
extern "C" __attribute__((visibility("default"))) const retort_onednn::Kernels* retort_onednn_kernels();
