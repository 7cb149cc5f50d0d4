/// The pictures of a colour font that holds bitmaps (CBDT): a sequence of code points is one glyph, or none.
#pragma once

#include <ft2build.h>
#include FT_FREETYPE_H
#include <hb.h>
#include <retort/error.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace retort {

/// The share that each of `from` places in a row has in each of `to`, where the row is cut into `to` equal parts: an
/// antialiased resize by areas.
class AreaResize {
 public:
  AreaResize(int64_t from, int64_t to) {
    const double ratio = static_cast<double>(from) / static_cast<double>(to);
    for (int64_t i = 0; i < to; ++i) {
      const double begin = static_cast<double>(i) * ratio, end = begin + ratio;
      Part part{static_cast<int64_t>(begin), {}};
      for (int64_t at = part.first; at < from && static_cast<double>(at) < end - 1e-9; ++at) {
        const double low = std::max(begin, static_cast<double>(at)), high = std::min(end, static_cast<double>(at + 1));
        part.shares.push_back(static_cast<float>((high - low) / ratio));
      }
      parts_.push_back(std::move(part));
    }
  }

  /// in, out: rows of numbers that lie `stride` apart
  void operator()(const float* in, int64_t in_stride, float* out, int64_t out_stride) const {
    for (const Part& part : parts_) {
      float sum = 0;
      const float* at = in + part.first * in_stride;
      for (const float share : part.shares) {
        sum += share * *at;
        at += in_stride;
      }
      *out = sum;
      out += out_stride;
    }
  }

 private:
  struct Part {
    int64_t first;
    std::vector<float> shares;
  };
  std::vector<Part> parts_;
};

class EmojiFont {
 public:
  explicit EmojiFont(std::string path) : path_(std::move(path)) {
    std::error_code error;
    if (!std::filesystem::is_regular_file(path_, error)) {
      throw RequestError(path_ +
                         ": no such file; install Debian's fonts-noto-color-emoji, or name another font of its kind");
    }
    FT_Library library = nullptr;
    if (FT_Init_FreeType(&library) != 0) {
      throw Error("FreeType cannot be started");
    }
    library_.reset(library);
    FT_Face face = nullptr;
    if (FT_New_Face(library, path_.c_str(), 0, &face) != 0) {
      throw RequestError(path_ + ": is no font that FreeType can read");
    }
    face_.reset(face);
    if (!FT_HAS_COLOR(face) || face->num_fixed_sizes < 1) {
      throw RequestError(path_ + ": has no colour bitmaps (CBDT); expected a font such as Debian's NotoColorEmoji.ttf");
    }
    int largest = 0;
    for (int i = 1; i < face->num_fixed_sizes; ++i) {
      largest = face->available_sizes[i].height > face->available_sizes[largest].height ? i : largest;
    }
    FT_Select_Size(face, largest);
    const std::unique_ptr<hb_blob_t, decltype(&hb_blob_destroy)> blob(hb_blob_create_from_file(path_.c_str()),
                                                                      hb_blob_destroy);
    const std::unique_ptr<hb_face_t, decltype(&hb_face_destroy)> shaped(hb_face_create(blob.get(), 0), hb_face_destroy);
    shaper_.reset(hb_font_create(shaped.get()));
    buffer_.reset(hb_buffer_create());
  }

  /// The one glyph of a sequence; none where the font makes several of it, or knows it not.
  std::optional<uint32_t> glyph(const std::vector<uint32_t>& codes) const {
    hb_buffer_reset(buffer_.get());
    hb_buffer_add_utf32(buffer_.get(), codes.data(), static_cast<int>(codes.size()), 0, static_cast<int>(codes.size()));
    hb_buffer_set_direction(buffer_.get(), HB_DIRECTION_LTR);
    hb_buffer_set_script(buffer_.get(), HB_SCRIPT_COMMON);
    hb_buffer_set_flags(buffer_.get(), HB_BUFFER_FLAG_REMOVE_DEFAULT_IGNORABLES);
    hb_shape(shaper_.get(), buffer_.get(), nullptr, 0);
    unsigned count = 0;
    const hb_glyph_info_t* found = hb_buffer_get_glyph_infos(buffer_.get(), &count);
    if (count != 1 || found[0].codepoint == 0) {
      return std::nullopt;
    }
    return found[0].codepoint;
  }

  /// The glyph's picture on white, in the middle of a square: size x size bytes of red, then green, then blue. False
  /// where the font has none.
  bool draw(uint32_t glyph, int64_t size, uint8_t* out) const {
    if (FT_Load_Glyph(face_.get(), glyph, FT_LOAD_COLOR) != 0 ||
        face_->glyph->bitmap.pixel_mode != FT_PIXEL_MODE_BGRA || face_->glyph->bitmap.rows == 0) {
      return false;
    }
    const FT_Bitmap& bitmap = face_->glyph->bitmap;
    const int64_t height = bitmap.rows, width = bitmap.width, side = std::max(height, width);
    const AreaResize resize(side, size);
    std::vector<float> square(static_cast<size_t>(side * side)), narrow(static_cast<size_t>(side * size)),
        small(static_cast<size_t>(size * size));
    for (int64_t channel = 0; channel < 3; ++channel) {
      constexpr float white = 255;
      std::fill(square.begin(), square.end(), white);
      for (int64_t y = 0; y < height; ++y) {
        const uint8_t* from = bitmap.buffer + y * bitmap.pitch;
        float* to = square.data() + (y + (side - height) / 2) * side + (side - width) / 2;
        for (int64_t x = 0; x < width; ++x) {  // colours are multiplied by their alpha already
          to[x] = static_cast<float>(from[4 * x + 2 - channel]) + white - static_cast<float>(from[4 * x + 3]);
        }
      }
      for (int64_t y = 0; y < side; ++y) {
        resize(square.data() + y * side, 1, narrow.data() + y * size, 1);
      }
      for (int64_t x = 0; x < size; ++x) {
        resize(narrow.data() + x, size, small.data() + x, size);
      }
      std::transform(small.begin(), small.end(), out + channel * size * size,
                     [white](float v) { return static_cast<uint8_t>(std::clamp(v, 0.0F, white) + 0.5F); });
    }
    return true;
  }

 private:
  struct Close {
    void operator()(FT_Library library) const { FT_Done_FreeType(library); }
    void operator()(FT_Face face) const { FT_Done_Face(face); }
    void operator()(hb_font_t* font) const { hb_font_destroy(font); }
    void operator()(hb_buffer_t* buffer) const { hb_buffer_destroy(buffer); }
  };

  std::string path_;
  std::unique_ptr<std::remove_pointer_t<FT_Library>, Close> library_;
  std::unique_ptr<std::remove_pointer_t<FT_Face>, Close> face_;  // closed before its library
  std::unique_ptr<hb_font_t, Close> shaper_;
  std::unique_ptr<hb_buffer_t, Close> buffer_;
};

}  // namespace retort
