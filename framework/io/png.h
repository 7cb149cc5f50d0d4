/// Grids of pictures as PNG.
#pragma once

#include <filesystem>
#include <string>

#include "retort/tensor.h"

namespace retort {

/// pictures: [n, C, H, W] in [0, 1], C = 1 or 3, laid out row by row with a thin gap. Returns [C, height, width] bytes.
Tensor picture_grid(const Tensor& pictures, int64_t columns);
/// picture: [C, H, W] bytes, as the bytes of a PNG file.
std::string encode_png(const Tensor& picture);

}  // namespace retort
