/// Attention and the embedding of times as diffusers has them, so that the same weights mean the same here.
#pragma once

#include <retort/tensor.h>

#include <ATen/ATen.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cmath>

namespace retort {

/// diffusers' `get_timestep_embedding`. times: [n]. Returns [n, width] float64: cosines and sines at `width` / 2
/// frequencies, even in logarithm from 1 to about 1 / 10000.
inline Tensor timestep_embedding(const Tensor& times, int64_t width, bool cosines_first = true, double shift = 0) {
  const int64_t half = width / 2;
  const double step = -std::log(10000.0) / (static_cast<double>(half) - shift);
  const Tensor frequency = (at::arange(half, times.options().dtype(at::kDouble)) * step).exp();
  const Tensor angle = times.to(at::kDouble).unsqueeze(1) * frequency;
  return cosines_first ? at::cat({angle.cos(), angle.sin()}, 1) : at::cat({angle.sin(), angle.cos()}, 1);
}

/// diffusers' `Attention`, of several heads. Source: Vaswani et al. 2017.
struct Attention : torch::nn::Module {
  Attention(int64_t width, int64_t context_width, int64_t heads_) : heads(heads_) {
    const auto linear = [](int64_t in, int64_t out, bool bias) {
      return torch::nn::Linear(torch::nn::LinearOptions(in, out).bias(bias));
    };
    to_q = register_module("to_q", linear(width, width, false));
    to_k = register_module("to_k", linear(context_width, width, false));
    to_v = register_module("to_v", linear(context_width, width, false));
    to_out = register_module("to_out", linear(width, width, true));
  }

  /// x: [B, N, width]; context: [B, L, context_width]; mask: [B, L] bool, the places that are attended to, or
  /// undefined. A row whose places are all hidden gets nothing but the last bias.
  Tensor forward(const Tensor& x, const Tensor& context, const Tensor& mask = {}) {
    const Tensor q = split(to_q(x)), k = split(to_k(context)), v = split(to_v(context));
    if (!mask.defined()) {
      return to_out(join(at::scaled_dot_product_attention(q, k, v)));
    }
    // A number in place of infinity, as in diffusers: where all places are hidden, infinities would make nan.
    const Tensor hidden = mask.logical_not().to(q.scalar_type()).mul(-10000.0).unsqueeze(1).unsqueeze(1);
    const Tensor bias = hidden.expand({x.size(0), heads, x.size(1), context.size(1)});
    const Tensor seen = mask.any(1).view({-1, 1, 1}).to(q.scalar_type());
    return to_out(join(at::scaled_dot_product_attention(q, k, v, bias)) * seen);
  }

  // [B, N, width] to [B, heads, N, width / heads], and back
  Tensor split(const Tensor& x) const { return x.unflatten(2, {heads, -1}).transpose(1, 2); }
  static Tensor join(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

  int64_t heads;
  torch::nn::Linear to_q{nullptr}, to_k{nullptr}, to_v{nullptr}, to_out{nullptr};
};

}  // namespace retort
