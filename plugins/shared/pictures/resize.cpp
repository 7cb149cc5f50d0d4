#include "resize.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace retort {

namespace {

Tensor interpolated(const Tensor& x, int64_t height, int64_t width) {
  if (x.size(1) == height && x.size(2) == width) {
    return x;
  }
  const auto pass = [](const Tensor& from, int64_t rows, int64_t columns) {
    return at::_upsample_bicubic2d_aa(from.unsqueeze(0), {rows, columns}, false).squeeze(0);
  };
  if (x.scalar_type() != at::kByte) {
    return pass(x, height, width).clamp_(x.min(), x.max());
  }
  // Pillow makes bytes of the rows before it goes on to the columns, which cuts what overshoots.
  const auto as_byte = [](Tensor y) { return y.add_(0.5).floor_().clamp_(0, 255); };
  Tensor y = x.to(at::kFloat);
  if (x.size(2) != width) {
    y = as_byte(pass(y, x.size(1), width));
  }
  if (x.size(1) != height) {
    y = as_byte(pass(y, height, width));
  }
  return y.to(at::kByte);
}

int64_t scaled(int64_t length, int64_t size, int64_t by) {
  return std::max<int64_t>(
      1, static_cast<int64_t>(
             std::floor(static_cast<double>(length) * static_cast<double>(size) / static_cast<double>(by) + 0.5)));
}

Tensor middle(const Tensor& x, int64_t height, int64_t width) {
  return x.narrow(1, (x.size(1) - height) / 2, height).narrow(2, (x.size(2) - width) / 2, width);
}

Tensor framed(const Tensor& x, int64_t size, const std::optional<Colour>& bars) {
  const Colour colour = bars.value_or(Colour{});
  const int64_t channels = x.size(0);
  const std::vector<int64_t> values = channels == 1 ? std::vector<int64_t>{grey_of(colour)}
                                                    : std::vector<int64_t>{colour.red, colour.green, colour.blue};
  Tensor fill = at::tensor(values, at::kLong).to(x.scalar_type());
  if (x.scalar_type() != at::kByte) {
    fill.div_(255);
  }
  const Tensor out = fill.view({channels, 1, 1}).expand({channels, size, size}).contiguous();
  middle(out, x.size(1), x.size(2)).copy_(x);
  return out;
}

}  // namespace

Tensor resized(const Tensor& x, int64_t size, Resize how, const std::optional<Colour>& bars) {
  const int64_t height = x.size(1), width = x.size(2), shorter = std::min(height, width);
  if (how == Resize::stretch) {
    return interpolated(x, size, size);
  }
  if (how == Resize::fit) {
    const int64_t longer = std::max(height, width);
    return framed(interpolated(x, scaled(height, size, longer), scaled(width, size, longer)), size, bars);
  }
  // The far ends of a very long picture take part in nothing, but would take much memory.
  const Tensor part = middle(x, std::min(height, 8 * shorter), std::min(width, 8 * shorter));
  const Tensor whole = interpolated(part, scaled(part.size(1), size, shorter), scaled(part.size(2), size, shorter));
  return middle(whole, size, size).contiguous();
}

}  // namespace retort
