/// Pictures as files hold them: PNG, JPEG, WebP, TIFF, GIF and BMP, known by their first bytes.
///
/// Values are the ones stored. No gamma, profile or other ancillary data of a file changes them, and a picture of 8
/// bits or less has the values that Pillow gives. It stands on the formats' own libraries. (libvips and OpenImageIO
/// were considered: they lose the colours under transparency in GIF, need ImageMagick for BMP, and bring 120 to 140
/// Debian packages. No library in Debian gives the values of 16-bit BMP, so that reader is our own.)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace retort {

using Bytes = std::span<const uint8_t>;

/// What the head of a file says of the picture, turned upright by its orientation.
struct PictureSize {
  int64_t width = 0;
  int64_t height = 0;
  bool operator==(const PictureSize&) const = default;
};

struct Picture {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;             // 1: grey, 2: grey and alpha, 3: RGB, 4: RGB and alpha
  bool deep = false;                // more than 8 bits a sample, or floating point
  std::vector<uint8_t> bytes = {};  // [height, width, channels], where it is not deep
  std::vector<float> values = {};   // the same of a deep one: stored integers over their maximum, or floats as stored
};

/// A colour of 8 bits a channel.
struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Colour&) const = default;
};

/// The most pixels a side and in all. Larger pictures are refused before memory is taken.
inline constexpr int64_t most_pixels_a_side = int64_t{1} << 14;
inline constexpr int64_t most_pixels = int64_t{1} << 27;

/// The first frame or page, upright, read to the end of the file's data. Throws RequestError of one line, which begins
/// with `name`, for a file that is damaged, cut off, too large or of no known format.
Picture decode_picture(Bytes file, const std::string& name);

/// The size alone, from the head of the file; `file` may be its beginning only. Throws as decode_picture does.
PictureSize probe_picture(Bytes file, const std::string& name);

/// [C, height, width] with one (grey) or three channels. Transparency is dropped, so that the colours stored under it
/// show, or laid over a background. Grey is (299 R + 587 G + 114 B) / 1000.
std::vector<uint8_t> picture_bytes(const Picture& picture, bool grey, const std::optional<Colour>& background);
/// The same as floats: bytes over 255, deep values as they are.
std::vector<float> picture_values(const Picture& picture, bool grey, const std::optional<Colour>& background);
uint8_t grey_of(const Colour& colour);

}  // namespace retort
