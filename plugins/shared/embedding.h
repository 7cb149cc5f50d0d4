/// The sinusoidal embedding of a noise label, shared by the networks.
#pragma once

#include <retort/tensor.h>

#include <ATen/ATen.h>

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

}  // namespace retort
