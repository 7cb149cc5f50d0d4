// Convolutions with packed weights and fused residuals, by oneDNN 3 or 2.
#include <dnnl.hpp>

#include <memory>
#include <string>
#include <unordered_map>

#include "group_norm.h"
#include "kernels.h"

namespace retort_onednn {

namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static auto* made = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *made;
}
dnnl::stream& stream() {
  static auto* made = new dnnl::stream(engine());
  return *made;
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

struct Convolution {
  ConvolutionShape shape;
  dnnl::convolution_forward::primitive_desc description;
  dnnl::convolution_forward primitive;
  memory src, weights, bias, dst, residual;
  std::string implementation;
  std::unordered_map<int, memory> arguments;
};

namespace {

memory::data_type state_type(const ConvolutionShape& s) {
  return s.bfloat16 ? memory::data_type::bf16 : memory::data_type::f32;
}

memory::dims weight_dims(const ConvolutionShape& s) {
  if (s.groups == 1) {
    return {s.out_channels, s.in_channels, s.kernel_height, s.kernel_width};
  }
  return {s.groups, s.out_channels / s.groups, s.in_channels / s.groups, s.kernel_height, s.kernel_width};
}

Convolution* make_convolution(const ConvolutionShape& s) {
  try {
    const auto type = state_type(s);
    const memory::desc src({s.batch, s.in_channels, s.in_height, s.in_width}, type, memory::format_tag::nhwc);
    const memory::desc dst({s.batch, s.out_channels, s.out_height, s.out_width}, type, memory::format_tag::nhwc);
    const memory::desc weights(weight_dims(s), type, memory::format_tag::any);
    const memory::desc bias =
        s.bias ? memory::desc({s.out_channels}, memory::data_type::f32, memory::format_tag::x) : memory::desc();
    dnnl::primitive_attr attributes;
    dnnl::post_ops after;
    if (s.residual) {
      after.append_binary(dnnl::algorithm::binary_add, dst);
    }
    if (s.factor != 1) {
#if DNNL_VERSION_MAJOR >= 3
      after.append_eltwise(dnnl::algorithm::eltwise_linear, s.factor, 0);
#else
      after.append_eltwise(1, dnnl::algorithm::eltwise_linear, s.factor, 0);
#endif
    }
    attributes.set_post_ops(after);
    auto made = std::make_unique<Convolution>();
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
    made->src = memory(src, engine(), nullptr);
    made->dst = memory(dst, engine(), nullptr);
    made->arguments = {{DNNL_ARG_SRC, made->src}, {DNNL_ARG_DST, made->dst}};
    if (s.residual) {
      made->residual = memory(dst, engine(), nullptr);
      made->arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, made->residual});
    }
    return made.release();
  } catch (const dnnl::error&) {
    return nullptr;
  }
}

void free_convolution(Convolution* convolution) { delete convolution; }

void use_weights(Convolution* c, const memory& weights, const memory& bias) {
  c->weights = weights;
  c->arguments[DNNL_ARG_WEIGHTS] = weights;
  if (c->shape.bias) {
    c->bias = bias;
    c->arguments[DNNL_ARG_BIAS] = bias;
  }
}

bool share_weights(Convolution* c, const Convolution* packed) {
  if (c->description.weights_desc() != packed->description.weights_desc() || c->shape.bias != packed->shape.bias) {
    return false;
  }
  use_weights(c, packed->weights, packed->bias);
  return true;
}

void set_weights(Convolution* c, const float* weight, const float* bias) {
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

void convolve(Convolution* c, const void* src, const void* residual, void* dst) {
  c->src.set_data_handle(const_cast<void*>(src));
  c->dst.set_data_handle(dst);
  if (c->shape.residual) {
    c->residual.set_data_handle(const_cast<void*>(residual));
  }
  c->primitive.execute(stream(), c->arguments);
  stream().wait();
}

const char* implementation(const Convolution* c) { return c->implementation.c_str(); }

int gemm(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c) {
  return static_cast<int>(dnnl_sgemm('N', 'N', m, n, k, 1.0F, a, k, b, n, 0.0F, c, n));
}

const Kernels kernels = {describe, make_convolution, free_convolution, set_weights, share_weights,
                         convolve, implementation,   group_norm,       gemm};

}  // namespace

}  // namespace retort_onednn

const retort_onednn::Kernels* retort_onednn_kernels() { return &retort_onednn::kernels; }
