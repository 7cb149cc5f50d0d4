// Orientation by EXIF and XMP, and turning pictures upright.
#include <algorithm>
#include <string_view>
#include <utility>

#include "codec.h"

namespace retort {

int exif_orientation(Bytes exif) {
  constexpr std::string_view prefix("Exif\0\0", 6);
  if (exif.size() >= 6 && std::equal(prefix.begin(), prefix.end(), exif.begin())) {
    exif = exif.subspan(6);
  }
  if (exif.size() < 8 || exif[0] != exif[1] || (exif[0] != 'I' && exif[0] != 'M')) {
    return 0;
  }
  const bool little = exif[0] == 'I';
  const auto number = [&](size_t at, size_t length) {
    uint64_t out = 0;
    for (size_t i = 0; i < length; ++i) {
      out = out << 8 | exif[at + (little ? length - 1 - i : i)];
    }
    return out;
  };
  const uint64_t directory = number(4, 4);
  if (number(2, 2) != 42 || directory + 2 > exif.size()) {
    return 0;
  }
  const uint64_t entries = number(directory, 2);
  for (uint64_t i = 0; i < entries; ++i) {
    const uint64_t entry = directory + 2 + 12 * i;
    if (entry + 12 > exif.size()) {
      return 0;
    }
    if (number(entry, 2) == 0x0112) {
      const uint64_t type = number(entry + 2, 2);  // writers use bytes and longs too, against the standard
      const size_t length = type == 1 ? 1 : type == 3 ? 2 : type == 4 ? 4 : 0;
      const uint64_t value = length > 0 ? number(entry + 8, length) : 0;
      return value >= 1 && value <= 8 ? static_cast<int>(value) : 0;
    }
  }
  return 0;
}

int xmp_orientation(Bytes packet) {
  const std::string_view text(reinterpret_cast<const char*>(packet.data()), packet.size());
  constexpr std::string_view key = "tiff:Orientation";
  for (size_t at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    size_t digit = at + key.size();
    if (text.substr(digit, 2) == "=\"") {
      digit += 2;
    } else if (text.substr(digit, 1) == ">") {
      digit += 1;
    } else {
      continue;
    }
    if (digit < text.size() && text[digit] >= '0' && text[digit] <= '9') {
      return text[digit] >= '1' && text[digit] <= '8' ? text[digit] - '0' : 0;
    }
  }
  return 0;
}

PictureSize upright(PictureSize size, int orientation) {
  return orientation >= 5 && orientation <= 8 ? PictureSize{size.height, size.width} : size;
}

namespace {

template <class T>
std::vector<T> turned(const std::vector<T>& from, int64_t height, int64_t width, int64_t channels, int orientation) {
  // The place of the pixel that comes to (0, 0), and the steps that a step right and a step down make there.
  const int64_t right_end = width - 1, bottom = (height - 1) * width;
  int64_t start = 0, right = 1, down = width;
  switch (orientation) {
    case 2:
      start = right_end, right = -1, down = width;
      break;
    case 3:
      start = bottom + right_end, right = -1, down = -width;
      break;
    case 4:
      start = bottom, right = 1, down = -width;
      break;
    case 5:
      start = 0, right = width, down = 1;
      break;
    case 6:
      start = bottom, right = -width, down = 1;
      break;
    case 7:
      start = bottom + right_end, right = -width, down = -1;
      break;
    default:
      start = right_end, right = width, down = -1;
      break;
  }
  if (orientation >= 5) {
    std::swap(height, width);
  }
  std::vector<T> out(from.size());
  auto to = out.begin();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      to = std::copy_n(from.begin() + (start + y * down + x * right) * channels, channels, to);
    }
  }
  return out;
}

}  // namespace

Picture upright(Picture picture, int orientation) {
  if (orientation < 2 || orientation > 8) {
    return picture;
  }
  if (picture.deep) {
    picture.values = turned(picture.values, picture.height, picture.width, picture.channels, orientation);
  } else {
    picture.bytes = turned(picture.bytes, picture.height, picture.width, picture.channels, orientation);
  }
  if (orientation >= 5) {
    std::swap(picture.height, picture.width);
  }
  return picture;
}

}  // namespace retort
