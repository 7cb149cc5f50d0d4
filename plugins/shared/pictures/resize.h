/// Pictures of one size.
#pragma once

#include <retort/tensor.h>

#include <optional>

#include "picture.h"

namespace retort {

enum class Resize { crop, fit, stretch };

/// x: [C, height, width], bytes or floats. Returns [C, size, size] of the same type, by antialiased bicubic
/// interpolation. crop: the shorter side becomes `size`, and the middle is kept. fit: the longer side does, and `bars`
/// fills the rest. stretch: both do. Bytes are rounded; floats stay within the range that the picture had.
Tensor resized(const Tensor& x, int64_t size, Resize how, const std::optional<Colour>& bars);

}  // namespace retort
