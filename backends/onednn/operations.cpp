// Convolutions with packed weights and what follows them fused in, and pooling, by oneDNN 3 or 2; and plain copies.
#include <dnnl.hpp>

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels.h"
#include "vector_kernels.h"

namespace retort_onednn {

namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static auto* made = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *made;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream made(engine());
  return made;
}

const char* isa_name() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "SSE4.1";
    case dnnl::cpu_isa::avx:
      return "AVX";
    case dnnl::cpu_isa::avx2:
      return "AVX2";
    case dnnl::cpu_isa::avx512_core:
      return "AVX-512";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "AVX-512 VNNI";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "AVX-512 BF16";
#if DNNL_VERSION_MAJOR >= 3
    case dnnl::cpu_isa::avx512_core_fp16:
      return "AVX-512 FP16";
#endif
    case dnnl::cpu_isa::avx512_core_amx:
      return "AMX";
    default:
      return "portable code";
  }
}

const char* describe() {
  static const std::string text = [] {
    const dnnl_version_t* v = dnnl_version();
    return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch) +
           " with " + isa_name();
  }();
  return text.c_str();
}

}  // namespace

struct WinogradWeights {
  std::vector<float> weights, bias;
};

struct Operation {
  ConvolutionShape shape;                     // of a convolution
  std::optional<WinogradShape> winograd;      // where it is done that way
  std::shared_ptr<WinogradWeights> filtered;  // by convolutions of several batch sizes
  dnnl::convolution_forward::primitive_desc description;
  dnnl::primitive primitive;
  memory src, weights, bias, dst, residual;
  std::string implementation;
  std::unordered_map<int, memory> arguments;
};

namespace {

memory::desc picture(int64_t batch, int64_t channels, int64_t height, int64_t width, bool bfloat16) {
  return {{batch, channels, height, width},
          bfloat16 ? memory::data_type::bf16 : memory::data_type::f32,
          memory::format_tag::nhwc};
}

memory::dims weight_dims(const ConvolutionShape& s) {
  if (s.groups == 1) {
    return {s.out_channels, s.in_channels, s.kernel_height, s.kernel_width};
  }
  return {s.groups, s.out_channels / s.groups, s.in_channels / s.groups, s.kernel_height, s.kernel_width};
}

int64_t cache_size() {
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return bytes > 0 ? bytes : 1 << 20;
}

dnnl::primitive_attr after_convolution(const ConvolutionShape& s, const memory::desc& dst) {
  dnnl::post_ops after;
  if (s.residual) {
    after.append_binary(dnnl::algorithm::binary_add, dst);
  }
  const auto apply = [&after](dnnl::algorithm algorithm, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
    after.append_eltwise(algorithm, alpha, 0);
#else
    after.append_eltwise(1, algorithm, alpha, 0);
#endif
  };
  if (s.factor != 1) {
    apply(dnnl::algorithm::eltwise_linear, s.factor);
  }
  if (s.silu) {
    apply(dnnl::algorithm::eltwise_swish, 1);
  }
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(after);
  return attributes;
}

void read_and_write(Operation& o, const memory::desc& src, const memory::desc& dst) {
  o.src = memory(src, engine(), nullptr);
  o.dst = memory(dst, engine(), nullptr);
  o.arguments = {{DNNL_ARG_SRC, o.src}, {DNNL_ARG_DST, o.dst}};
}

bool has_matrix_units() { return dnnl::get_effective_cpu_isa() >= dnnl::cpu_isa::avx512_core_amx; }

// Winograd's way pays where there are tiles enough to share the transformed weights, which are four times as many; in
// bfloat16, whose products oneDNN does at twice the rate, only where tiles fit the picture. Matrix units do them faster
// still.
bool suits_winograd(const ConvolutionShape& s) {
  const auto whole = [](int64_t channels) { return channels % 16 == 0; };
  const int64_t in_picture = ((s.out_height + 3) / 4) * ((s.out_width + 3) / 4), tiles = s.batch * in_picture;
  constexpr int64_t least_tiles = 12;
  constexpr double most_waste = 1.15;
  const double waste = static_cast<double>(16 * in_picture) / static_cast<double>(s.out_height * s.out_width);
  return s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
         s.padding_height == 1 && s.padding_width == 1 && s.dilation_height == 1 && s.dilation_width == 1 &&
         s.groups == 1 && whole(s.in_channels) && whole(s.out_channels) && tiles >= least_tiles &&
         !(s.bfloat16 && (waste > most_waste || has_matrix_units()));
}

WinogradShape winograd_shape(const ConvolutionShape& s) {
  return {s.batch,    s.out_height, s.out_width, s.in_channels,   s.out_channels,
          s.bfloat16, s.factor,     s.silu,      cache_size() / 2};
}

Operation* make_convolution(const ConvolutionShape& s) {
  if (suits_winograd(s)) {
    auto made = std::make_unique<Operation>();
    made->shape = s;
    made->winograd = winograd_shape(s);
    made->implementation = "Highway, Winograd 4 x 4";
    return made.release();
  }
  try {
    const memory::desc src = picture(s.batch, s.in_channels, s.in_height, s.in_width, s.bfloat16);
    const memory::desc dst = picture(s.batch, s.out_channels, s.out_height, s.out_width, s.bfloat16);
    const memory::desc weights(weight_dims(s), s.bfloat16 ? memory::data_type::bf16 : memory::data_type::f32,
                               memory::format_tag::any);
    const memory::desc bias =
        s.bias ? memory::desc({s.out_channels}, memory::data_type::f32, memory::format_tag::x) : memory::desc();
    const dnnl::primitive_attr attributes = after_convolution(s, dst);
    auto made = std::make_unique<Operation>();
    made->shape = s;
    const memory::dims strides = {s.stride_height, s.stride_width}, padding = {s.padding_height, s.padding_width};
    const memory::dims dilation = {s.dilation_height - 1, s.dilation_width - 1};
#if DNNL_VERSION_MAJOR >= 3
    made->description = dnnl::convolution_forward::primitive_desc(engine(), dnnl::prop_kind::forward_inference,
                                                                  dnnl::algorithm::convolution_auto, src, weights, bias,
                                                                  dst, strides, dilation, padding, padding, attributes);
#else
    const dnnl::convolution_forward::desc wanted(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_auto,
                                                 src, weights, bias, dst, strides, dilation, padding, padding);
    made->description = dnnl::convolution_forward::primitive_desc(wanted, attributes, engine());
#endif
    made->primitive = dnnl::convolution_forward(made->description);
    made->implementation = made->description.impl_info_str();
    read_and_write(*made, src, dst);
    if (s.residual) {
      made->residual = memory(dst, engine(), nullptr);
      made->arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, made->residual});
    }
    return made.release();
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

Operation* make_pool(const PoolShape& s) {
  try {
    const memory::desc src = picture(s.batch, s.channels, s.in_height, s.in_width, s.bfloat16);
    const memory::desc dst = picture(s.batch, s.channels, s.out_height, s.out_width, s.bfloat16);
    const memory::dims kernel = {s.kernel_height, s.kernel_width}, strides = {s.stride_height, s.stride_width};
    const memory::dims before = {0, 0};
    // What the last windows reach beyond the picture.
    const memory::dims after = {(s.out_height - 1) * s.stride_height + s.kernel_height - s.in_height,
                                (s.out_width - 1) * s.stride_width + s.kernel_width - s.in_width};
    constexpr auto mean = dnnl::algorithm::pooling_avg_exclude_padding;
    auto made = std::make_unique<Operation>();
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::pooling_forward::primitive_desc description(engine(), dnnl::prop_kind::forward_inference, mean, src,
                                                            dst, strides, kernel, before, before, after);
    made->primitive = dnnl::pooling_forward(description);
#else
    const dnnl::pooling_forward::primitive_desc description(
        {dnnl::prop_kind::forward_inference, mean, src, dst, strides, kernel, before, after}, engine());
    made->primitive = dnnl::pooling_forward(description);
#endif
    made->implementation = description.impl_info_str();
    read_and_write(*made, src, dst);
    return made.release();
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

void free_operation(Operation* operation) { delete operation; }

void use_weights(Operation* c, const memory& weights, const memory& bias) {
  c->weights = weights;
  c->arguments[DNNL_ARG_WEIGHTS] = weights;
  if (c->shape.bias) {
    c->bias = bias;
    c->arguments[DNNL_ARG_BIAS] = bias;
  }
}

bool share_weights(Operation* c, const Operation* packed) {
  if (c->winograd || packed->winograd) {
    if (c->winograd && packed->winograd) {
      c->filtered = packed->filtered;
    }
    return c->winograd && packed->winograd;
  }
  if (c->description.weights_desc() != packed->description.weights_desc() || c->shape.bias != packed->shape.bias) {
    return false;
  }
  use_weights(c, packed->weights, packed->bias);
  return true;
}

void set_weights(Operation* c, const float* weight, const float* bias) {
  if (c->winograd) {
    if (!c->filtered) {
      c->filtered = std::make_shared<WinogradWeights>();
    }
    pack_for_winograd(c->shape.out_channels, c->shape.in_channels, weight, c->filtered->weights);
    c->filtered->bias.assign(static_cast<size_t>(c->shape.out_channels), 0.0F);
    if (bias != nullptr) {
      std::copy_n(bias, c->shape.out_channels, c->filtered->bias.begin());
    }
    return;
  }
  if (!c->weights) {
    const memory::desc numbers({c->shape.out_channels}, memory::data_type::f32, memory::format_tag::x);
    use_weights(c, memory(c->description.weights_desc(), engine()),
                c->shape.bias ? memory(numbers, engine()) : memory());
  }
  const memory::desc plain(weight_dims(c->shape), memory::data_type::f32,
                           c->shape.groups == 1 ? memory::format_tag::oihw : memory::format_tag::goihw);
  memory source(plain, engine(), const_cast<float*>(weight));
  dnnl::reorder(source, c->weights).execute(stream(), source, c->weights);
  stream().wait();
  if (c->shape.bias) {
    auto* to = static_cast<float*>(c->bias.get_data_handle());
    for (int64_t i = 0; i < c->shape.out_channels; ++i) {
      to[i] = bias == nullptr ? 0 : bias[i];
    }
  }
}

bool weight_gradient(const ConvolutionShape& s, const float* src, const float* gradient, float* weights, float* bias) {
  if (s.bfloat16 || !suits_winograd(s)) {
    return false;
  }
  winograd_gradient(winograd_shape(s), src, gradient, weights, bias);
  return true;
}

void run(Operation* o, const void* src, const void* residual, void* dst) {
  if (o->winograd) {
    winograd(*o->winograd, o->filtered->weights.data(), o->filtered->bias.data(), src, residual, dst);
    return;
  }
  o->src.set_data_handle(const_cast<void*>(src));
  o->dst.set_data_handle(dst);
  if (residual != nullptr) {
    o->residual.set_data_handle(const_cast<void*>(residual));
  }
  o->primitive.execute(stream(), o->arguments);
  stream().wait();
}

const char* implementation(const Operation* o) { return o->implementation.c_str(); }

void concat(const ConcatShape& s, const void* const* src, void* dst) {
  const int64_t bytes = s.bfloat16 ? 2 : 4;
  int64_t row = 0;
  for (int64_t i = 0; i < s.count; ++i) {
    row += s.channels[i] * bytes;
  }
#pragma omp parallel for
  for (int64_t p = 0; p < s.positions; ++p) {
    char* to = static_cast<char*>(dst) + p * row;
    for (int64_t i = 0; i < s.count; ++i) {
      const int64_t size = s.channels[i] * bytes;
      std::memcpy(to, static_cast<const char*>(src[i]) + p * size, static_cast<size_t>(size));
      to += size;
    }
  }
}

void resize(int64_t batch, int64_t in_height, int64_t in_width, int64_t out_height, int64_t out_width,
            int64_t bytes_per_pixel, const void* src, void* dst) {
  const auto nearest = [](int64_t i, int64_t in, int64_t out) {
    return std::min(static_cast<int64_t>(static_cast<float>(i) * (static_cast<float>(in) / static_cast<float>(out))),
                    in - 1);
  };
#pragma omp parallel for
  for (int64_t y = 0; y < batch * out_height; ++y) {
    const auto* from =
        static_cast<const char*>(src) +
        (y / out_height * in_height + nearest(y % out_height, in_height, out_height)) * in_width * bytes_per_pixel;
    char* to = static_cast<char*>(dst) + y * out_width * bytes_per_pixel;
    for (int64_t x = 0; x < out_width; ++x) {
      std::memcpy(to + x * bytes_per_pixel, from + nearest(x, in_width, out_width) * bytes_per_pixel,
                  static_cast<size_t>(bytes_per_pixel));
    }
  }
}

void set_threads(int threads) { omp_set_num_threads(threads); }

int64_t chunk_bytes(bool bfloat16) { return bfloat16 && has_matrix_units() ? cache_size() : 8 * cache_size(); }

int gemm(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  return static_cast<int>(dnnl_sgemm('N', 'N', m, n, k, 1.0F, a, k, b, n, 0.0F, c, n));
}

const Kernels kernels = {
    .describe = describe,
    .set_threads = set_threads,
    .chunk_bytes = chunk_bytes,
    .make_convolution = make_convolution,
    .make_pool = make_pool,
    .free_operation = free_operation,
    .implementation = implementation,
    .run = run,
    .set_weights = set_weights,
    .share_weights = share_weights,
    .weight_gradient = weight_gradient,
    .concat = concat,
    .resize = resize,
    .group_norm = group_norm,
    .group_norm_gradient = group_norm_gradient,
    .attention = attention,
    .gemm = gemm,
};

}  // namespace

}  // namespace retort_onednn

const retort_onednn::Kernels* retort_onednn_kernels() { return &retort_onednn::kernels; }
