/// Tensors, and the one helper that every formula of this project needs.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>

#include "retort/export.h"

namespace retort {

using at::Tensor;

/// A coefficient per sample, shaped so that it multiplies whole samples.
/// c: [B] float64 on the CPU; x: [B, …]. Returns [B, 1, …] with x's dtype and device.
RETORT_API Tensor rows(const Tensor& c, const Tensor& x);

/// A random stream of its own for each use: equal arguments give equal numbers, whatever else was drawn before.
/// `stream` names the use (a short literal); `index` counts within it (a training step, say).
RETORT_API at::Generator seeded(uint64_t seed, const char* stream, uint64_t index = 0);

/// Standard normal numbers of x's shape, dtype and device, drawn on the CPU in float32 so that every
/// backend and precision sees the same noise.
RETORT_API Tensor normal_like(const Tensor& x, at::Generator generator);

}  // namespace retort
