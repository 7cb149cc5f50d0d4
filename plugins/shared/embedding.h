/// The embeddings of the noise label and of the guidance weight, shared by the networks.
#pragma once

#include <retort/tensor.h>

#include <ATen/ATen.h>
#include <torch/nn/modules/linear.h>

#include <numbers>

namespace retort {

/// noise: [B], of order one. Returns [B, width] cosines and sines at frequencies even in logarithm between 1/4 and 16
/// cycles per unit.
inline Tensor sinusoidal_embedding(const Tensor& noise, int64_t width, at::ScalarType dtype) {
  const Tensor frequency =
      at::logspace(-2, 4, width / 2, 2.0, noise.options().dtype(at::kDouble)) * (2 * std::numbers::pi);
  const Tensor angle = noise.to(at::kDouble).unsqueeze(1) * frequency;
  return at::cat({angle.cos(), angle.sin()}, 1).to(dtype);
}

/// What a network is given as `noise`: [B], or [B, 2] with the label of the guidance weight where the task is guided.
inline Tensor noise_label(const Tensor& noise) { return noise.dim() == 2 ? noise.select(1, 0) : noise; }
inline Tensor guidance_label(const Tensor& noise) { return noise.select(1, 1); }

/// The layer that takes in the embedded guidance weight; zero at first, so that a student begins as its teacher.
inline torch::nn::Linear guidance_layer(int64_t width, int64_t embedding) {
  const at::NoGradGuard no_grad;
  torch::nn::Linear layer(torch::nn::LinearOptions(width, embedding).bias(false));
  layer->weight.zero_();
  return layer;
}

}  // namespace retort
