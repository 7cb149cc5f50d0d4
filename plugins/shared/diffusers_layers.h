/// Layers with the names and numbers of diffusers' models: weights that a file of diffusers has mean the same here.
///
/// They begin as LibTorch's do, and may be made without memory (`NewWeights`). Their weights may be in a shorter type
/// than what goes through them.
#pragma once

#include <retort/error.h>
#include <retort/low_rank_layer.h>
#include <retort/recompute.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <retort/new_weights.h>

namespace retort::diffusers {

namespace nn = torch::nn;

/// Layers that cannot be; `key` is the one of config.json that forbids them.
struct Misfit : Error {
  Misfit(std::string key_, const std::string& what) : Error(what), key(std::move(key_)) {}
  std::string key;
};

/// Numbers between -bound and bound.
inline Tensor drawn(at::IntArrayRef shape, double bound) {
  const at::NoGradGuard no_grad;
  return NewWeights::empty(shape).uniform_(-bound, bound);
}
inline Tensor filled(at::IntArrayRef shape, double value) {
  const at::NoGradGuard no_grad;
  return NewWeights::empty(shape).fill_(value);
}

/// Group norm reads a tensor as one block in its forward-mode derivative, whatever the order of its memory.
inline Tensor one_block(const Tensor& x) { return x._fw_grad(0).defined() ? x.contiguous() : x; }

/// The type that a network computes in: its weights', or, where these are stored in a half-precision type, the
/// sample's.
inline at::ScalarType computing_type(const Tensor& weight, const Tensor& sample) {
  return c10::elementSize(weight.scalar_type()) >= sizeof(float) ? weight.scalar_type() : sample.scalar_type();
}

struct Linear : nn::Module, LowRankLayer {
  Linear(int64_t in, int64_t out, bool with_bias = true) {
    const double bound = 1 / std::sqrt(static_cast<double>(in));
    weight = register_parameter("weight", drawn({out, in}, bound));
    if (with_bias) {
      bias = register_parameter("bias", drawn({out}, bound));
    }
  }
  Tensor forward(const Tensor& x) const {
    const Tensor y = at::linear(x, widened(weight, x), widened(bias, x));
    return is_changed() ? y + at::linear(at::linear(x, a(x)) * scale_, b(x)) : y;
  }

  Tensor weight, bias;
};

struct Conv2d : nn::Module, LowRankLayer {
  Conv2d(int64_t in, int64_t out, int64_t kernel, int64_t stride_ = 1, int64_t padding_ = 0, bool with_bias = true)
      : stride{stride_, stride_}, padding{padding_, padding_} {
    const double bound = 1 / std::sqrt(static_cast<double>(in * kernel * kernel));
    weight = register_parameter("weight", drawn({out, in, kernel, kernel}, bound));
    if (with_bias) {
      bias = register_parameter("bias", drawn({out}, bound));
    }
  }
  Tensor forward(const Tensor& x) const {
    const Tensor y = at::conv2d(x, widened(weight, x), widened(bias, x), stride, padding);
    return is_changed() ? y + at::conv2d(at::conv2d(x, a(x), {}, stride, padding) * scale_, b(x)) : y;
  }

  std::array<int64_t, 2> stride, padding;  // in both directions
  Tensor weight, bias;
};

struct GroupNorm : nn::Module, StoredLayer {
  GroupNorm(int64_t groups_, int64_t width, double eps_) : groups(groups_), eps(eps_) {
    if (groups < 1 || width % groups != 0) {
      throw Misfit("norm_num_groups", std::to_string(groups) + " groups do not divide the " + std::to_string(width) +
                                          " channels of a layer");
    }
    weight = register_parameter("weight", filled({width}, 1));
    bias = register_parameter("bias", filled({width}, 0));
  }
  /// x: [B, width, …]
  Tensor forward(const Tensor& x) const {
    return at::group_norm(one_block(x), groups, widened(weight, x), widened(bias, x), eps);
  }

  int64_t groups;
  double eps;
  Tensor weight, bias;
};

struct LayerNorm : nn::Module, StoredLayer {
  /// `affine`: whether it has weights at all.
  explicit LayerNorm(int64_t width_, double eps_ = 1e-5, bool affine = true) : width(width_), eps(eps_) {
    if (affine) {
      weight = register_parameter("weight", filled({width}, 1));
      bias = register_parameter("bias", filled({width}, 0));
    }
  }
  /// x: […, width]
  Tensor forward(const Tensor& x) const {
    return at::layer_norm(x, {width}, widened(weight, x), widened(bias, x), eps);
  }

  int64_t width;
  double eps;
  Tensor weight, bias;
};

struct Embedding : nn::Module {
  Embedding(int64_t rows_, int64_t width) : rows(rows_) {
    const at::NoGradGuard no_grad;
    weight = register_parameter("weight", NewWeights::empty({rows, width}).normal_());
  }
  /// index: [B] int64
  Tensor forward(const Tensor& index) const { return at::embedding(weight, index.to(weight.device())); }
  /// The same, and zeros for an index behind the last row: no class, of a model that has no row for it.
  Tensor forward_or_zero(const Tensor& index) const {
    const Tensor at = index.to(weight.device());
    return at::embedding(weight, at.clamp_max(rows - 1)) * at.lt(rows).unsqueeze(1).to(weight.scalar_type());
  }

  int64_t rows;
  Tensor weight;
};

/// Modules of one type, called "0", "1", …
template <class T>
struct List : nn::Module {
  template <class... Arguments>
  T& add(Arguments&&... arguments) {
    return put(std::make_shared<T>(std::forward<Arguments>(arguments)...));
  }
  T& put(std::shared_ptr<T> item) {
    items.push_back(register_module(std::to_string(items.size()), std::move(item)));
    return *items.back();
  }
  size_t size() const { return items.size(); }
  T& operator[](size_t i) const { return *items[i]; }

  std::vector<std::shared_ptr<T>> items;
};

/// One module that is called "0": diffusers keeps a dropout behind it, as "1".
template <class T>
struct First : nn::Module {
  template <class... Arguments>
  explicit First(Arguments&&... arguments)
      : item(register_module("0", std::make_shared<T>(std::forward<Arguments>(arguments)...))) {}
  Tensor forward(const Tensor& x) const { return item->forward(x); }

  std::shared_ptr<T> item;
};

/// The words that `activation` knows.
inline const std::vector<std::string> activations = {"swish", "silu", "mish", "gelu", "relu"};

inline Tensor activation(const std::string& name, const Tensor& x) {
  return name == "mish" ? at::mish(x) : name == "gelu" ? at::gelu(x) : name == "relu" ? at::relu(x) : at::silu(x);
}

/// diffusers' `get_timestep_embedding`, in float32 as there. times: [n]. Returns [n, width].
inline Tensor time_waves(const Tensor& times, int64_t width, bool cosines_first, double shift) {
  const int64_t half = width / 2;
  const auto options = times.options().dtype(at::kFloat);
  const Tensor exponent = at::arange(half, options) * -std::log(10000.0) / (static_cast<double>(half) - shift);
  const Tensor angle = times.to(at::kFloat).unsqueeze(1) * exponent.exp().unsqueeze(0);
  std::vector<Tensor> parts = {angle.sin(), angle.cos()};
  if (cosines_first) {
    std::swap(parts[0], parts[1]);
  }
  if (width % 2 != 0) {
    parts.push_back(at::zeros({times.size(0), 1}, options));
  }
  return at::cat(parts, 1);
}

/// The waves of guidance weights in latent consistency models, as diffusers' pipelines compute them. w: [n], the weight
/// of c + w (c - u), which is guidance_scale - 1.
inline Tensor guidance_waves(const Tensor& w, int64_t width) {
  const int64_t half = width / 2;
  const auto options = w.options().dtype(at::kFloat);
  const float step = std::log(10000.0F) / static_cast<float>(half - 1);
  const Tensor frequency = (at::arange(half, options) * -static_cast<double>(step)).exp();
  const Tensor angle = (w * 1000).to(at::kFloat).unsqueeze(1) * frequency.unsqueeze(0);
  std::vector<Tensor> parts = {angle.sin(), angle.cos()};
  if (width % 2 != 0) {
    parts.push_back(at::zeros({w.size(0), 1}, options));
  }
  return at::cat(parts, 1);
}

/// diffusers' `TimestepEmbedding`: two layers, of waves or of any other numbers.
struct TimestepEmbedding : nn::Module {
  struct Options {
    std::string act = "silu", post_act = "none";
    int64_t condition = 0;  // numbers of a further input, which is added to the first layer's
  };
  TimestepEmbedding(int64_t in, int64_t out, Options options_) : options(std::move(options_)) {
    linear_1 = register_module("linear_1", std::make_shared<Linear>(in, out));
    if (options.condition > 0) {
      const at::NoGradGuard no_grad;  // without effect at first
      cond_proj = register_module("cond_proj", std::make_shared<Linear>(options.condition, in, false));
      cond_proj->weight.zero_();
    }
    linear_2 = register_module("linear_2", std::make_shared<Linear>(out, out));
  }
  TimestepEmbedding(int64_t in, int64_t out) : TimestepEmbedding(in, out, Options()) {}

  /// x: [B, in]; condition: [B, options.condition], or undefined
  Tensor forward(const Tensor& x, const Tensor& condition = {}) const {
    const Tensor sum = condition.defined() ? x + cond_proj->forward(condition) : x;
    const Tensor out = linear_2->forward(activation(options.act, linear_1->forward(sum)));
    return options.post_act == "none" ? out : activation(options.post_act, out);
  }

  Options options;
  std::shared_ptr<Linear> linear_1, linear_2, cond_proj;
};

/// Attention of several heads to `keys` and `values`. query, keys, values: [B, N or L, heads * size]; mask: [B, L]
/// bool, the places that are attended to, or undefined. `upcast`: in float32, whatever their type.
inline Tensor attend(const Tensor& query, const Tensor& keys, const Tensor& values, int64_t heads,
                     const Tensor& mask = {}, bool upcast = false) {
  const auto dtype = query.scalar_type();
  const bool wider = upcast && (dtype == at::kHalf || dtype == at::kBFloat16);
  const auto split = [&](const Tensor& x) {
    return (wider ? x.to(at::kFloat) : x).unflatten(2, {heads, -1}).transpose(1, 2);
  };
  const Tensor q = split(query), k = split(keys), v = split(values);
  std::optional<Tensor> bias;
  if (mask.defined()) {
    // A number in place of infinity: where all places are hidden, infinities would make nan.
    const Tensor hidden = mask.logical_not().to(q.scalar_type()).mul(-10000.0).unsqueeze(1).unsqueeze(1);
    bias = hidden.expand({q.size(0), heads, q.size(2), k.size(2)});
  }
  return at::scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2).to(dtype);
}

/// diffusers' `FeedForward`: "net.0.proj" and "net.2".
struct FeedForward : nn::Module {
  enum class Kind { geglu, gelu, gelu_tanh };

  FeedForward(int64_t width, Kind kind_) : kind(kind_) {
    struct Projection : nn::Module {
      Projection(int64_t in, int64_t out) : proj(register_module("proj", std::make_shared<Linear>(in, out))) {}
      std::shared_ptr<Linear> proj;
    };
    constexpr int64_t wider = 4;
    const auto net = register_module("net", std::make_shared<nn::Module>());
    const auto projection = std::make_shared<Projection>(width, (kind == Kind::geglu ? 2 : 1) * wider * width);
    proj = net->register_module("0", projection)->proj;
    out = net->register_module("2", std::make_shared<Linear>(wider * width, width));
  }

  Tensor forward(const Tensor& x) const {
    const Tensor h = proj->forward(x);
    if (kind == Kind::geglu) {
      const auto halves = h.chunk(2, -1);
      return out->forward(halves[0] * at::gelu(halves[1]));
    }
    return out->forward(at::gelu(h, kind == Kind::gelu_tanh ? "tanh" : "none"));
  }

  Kind kind;
  std::shared_ptr<Linear> proj, out;
};

}  // namespace retort::diffusers
