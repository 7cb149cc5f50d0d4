/// The run lengths of BMP.
#pragma once

#include <algorithm>

#include "picture.h"

namespace retort {

/// Fills `indices` ([height, width], in the order of the file: the lowest row first). Pixels that are skipped, or that
/// stand behind the mark of the end, have index 0. False where the data end before.
inline bool unpack_bmp_runs(Bytes data, bool four_bits, int64_t width, int64_t height, std::vector<uint8_t>& indices) {
  indices.assign(static_cast<size_t>(width * height), 0);
  int64_t x = 0, y = 0;
  size_t at = 0;
  const auto put = [&](uint8_t index) {
    if (x < width && y < height) {
      indices[static_cast<size_t>(y * width + x)] = index;
    }
    ++x;
  };
  const auto half = [&](uint8_t pair, size_t i) { return static_cast<uint8_t>(i % 2 == 0 ? pair >> 4 : pair & 15); };
  // Without a mark of the end, the last pixel ends it.
  while (y < height && !(y == height - 1 && x >= width && at == data.size())) {
    if (at + 2 > data.size()) {
      return false;
    }
    const size_t count = data[at];
    const uint8_t value = data[at + 1];
    at += 2;
    if (count > 0) {
      for (size_t i = 0; i < count; ++i) {
        put(four_bits ? half(value, i) : value);
      }
    } else if (value == 0) {
      x = 0, ++y;
    } else if (value == 1) {
      return true;
    } else if (value == 2) {
      if (at + 2 > data.size()) {
        return false;
      }
      x += data[at], y += data[at + 1];
      at += 2;
    } else {
      const size_t bytes = four_bits ? (size_t{value} + 1) / 2 : value;
      if (at + bytes > data.size()) {
        return false;
      }
      for (size_t i = 0; i < value; ++i) {
        put(four_bits ? half(data[at + i / 2], i) : data[at + i]);
      }
      at += bytes + bytes % 2;  // a whole number of words
    }
  }
  return true;
}

}  // namespace retort
