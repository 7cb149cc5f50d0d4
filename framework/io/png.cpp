#include "io/png.h"

#include <ATen/ATen.h>
#include <png.h>

#include <cstring>

#include "retort/error.h"

namespace retort {

Tensor picture_grid(const Tensor& pictures, int64_t columns) {
  constexpr int64_t gap = 2;
  constexpr double background = 1;
  const int64_t n = pictures.size(0), h = pictures.size(2), w = pictures.size(3);
  const int64_t lines = (n + columns - 1) / columns;
  const Tensor canvas = at::full({pictures.size(1), lines * (h + gap) - gap, std::min(n, columns) * (w + gap) - gap},
                                 background, pictures.options());
  for (int64_t i = 0; i < n; ++i) {
    canvas.narrow(1, i / columns * (h + gap), h).narrow(2, i % columns * (w + gap), w).copy_(pictures[i]);
  }
  return (canvas.clamp(0, 1) * 255).round().to(at::kByte);
}

std::string encode_png(const Tensor& picture) {
  const Tensor bytes = picture.permute({1, 2, 0}).contiguous();
  png_image image;
  std::memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(bytes.size(1));
  image.height = static_cast<png_uint_32>(bytes.size(0));
  image.format = bytes.size(2) == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
  std::string out(PNG_IMAGE_PNG_SIZE_MAX(image), '\0');
  png_alloc_size_t size = out.size();
  if (png_image_write_to_memory(&image, out.data(), &size, 0, bytes.data_ptr(), 0, nullptr) == 0) {
    throw Error(std::string("a picture cannot be encoded: ") + image.message);
  }
  out.resize(size);
  return out;
}

}  // namespace retort
