// BMP of Windows and OS/2: 1 to 32 bits, masks, run lengths, either direction. Samples of 5 and 6 bits are scaled as
// Pillow does it: v * 255 / 31, rounded down.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "bmp_rle.h"
#include "codec.h"

namespace retort {

namespace {

constexpr const char* format = "BMP";
enum Compression : uint32_t { raw = 0, rle8 = 1, rle4 = 2, masks = 3, alpha_masks = 6 };

struct Head {
  int64_t width = 0, height = 0;
  bool top_down = false;
  int bits = 0;
  uint32_t compression = raw;
  std::array<uint32_t, 4> mask = {};  // red, green, blue, alpha
  std::vector<PaletteColour> palette;
  size_t offset = 0;  // of the pixels
};

class Cursor {
 public:
  Cursor(Bytes file, const std::string& name) : file_(file), name_(name) {}
  uint32_t little(size_t at, size_t length) const {
    if (at + length > file_.size()) {
      throw damaged(name_, format, "its head is cut off");
    }
    uint32_t out = 0;
    for (size_t i = length; i-- > 0;) {
      out = out << 8 | file_[at + i];
    }
    return out;
  }

 private:
  Bytes file_;
  const std::string& name_;
};

void read_masks(Head& head, const Cursor& file, size_t header, const std::string& name) {
  if (head.compression == masks || head.compression == alpha_masks) {
    if (head.bits != 16 && head.bits != 24 && head.bits != 32) {
      throw damaged(name, format, "it has colour masks for " + std::to_string(head.bits) + " bits");
    }
    // Behind a header of 40 bytes, within a longer one.
    for (size_t c = 0; c < (header >= 56 || head.compression == alpha_masks ? 4 : 3); ++c) {
      head.mask[c] = file.little(14 + 40 + 4 * c, 4);
    }
    if (head.bits == 32 && head.mask == std::array<uint32_t, 4>{}) {
      head.mask = {0xff0000, 0xff00, 0xff, 0xff000000};
    }
  } else if (head.bits == 16) {
    head.mask = {0x7c00, 0x3e0, 0x1f, 0};
  } else {
    head.mask = {0xff0000, 0xff00, 0xff, 0};
  }
  for (size_t c = 0; c < 4; ++c) {
    const uint32_t mask = head.mask[c];
    const uint64_t ones = mask != 0 ? uint64_t{mask} >> std::countr_zero(mask) : 0;
    const bool fits = head.bits == 32 || (head.bits < 32 && mask >> head.bits == 0);
    if ((ones & (ones + 1)) != 0 || !fits || (c < 3 && mask == 0)) {
      throw damaged(name, format, "its colour masks are broken");
    }
  }
}

Head read_head(Bytes bytes, const std::string& name) {
  const Cursor file(bytes, name);
  Head head;
  head.offset = file.little(10, 4);
  const uint32_t header = file.little(14, 4);
  const bool core = header == 12;
  uint32_t colours = 0;
  int64_t planes = 0;
  if (core) {
    head.width = file.little(18, 2), head.height = file.little(20, 2);
    planes = file.little(22, 2), head.bits = static_cast<int>(file.little(24, 2));
  } else if (header == 40 || header == 52 || header == 56 || header == 64 || header == 108 || header == 124) {
    head.width = static_cast<int32_t>(file.little(18, 4)), head.height = static_cast<int32_t>(file.little(22, 4));
    planes = file.little(26, 2), head.bits = static_cast<int>(file.little(28, 2));
    head.compression = file.little(30, 4), colours = file.little(46, 4);
    head.top_down = head.height < 0, head.height = std::abs(head.height);
  } else {
    throw not_read(name, format, "with a header of " + std::to_string(header) + " bytes, which is not known");
  }
  check_size(name, format, head.width, head.height);
  constexpr int known[] = {1, 4, 8, 16, 24, 32};
  if (planes != 1 || std::find(std::begin(known), std::end(known), head.bits) == std::end(known)) {
    throw not_read(name, format,
                   "of " + std::to_string(planes) + " planes and " + std::to_string(head.bits) +
                       " bits; 1 plane of 1, 4, 8, 16, 24 or 32 bits is read");
  }
  const bool os2_bitfields = header == 64 && head.compression >= masks;  // other methods by the same numbers
  if ((head.compression > masks && head.compression != alpha_masks) || os2_bitfields ||
      (head.compression == rle8 && head.bits != 8) || (head.compression == rle4 && head.bits != 4)) {
    throw not_read(name, format,
                   "of " + std::to_string(head.bits) + " bits with compression " + std::to_string(head.compression) +
                       ", which is not read");
  }
  size_t behind = 14 + header;
  if (head.bits <= 8) {
    const size_t most = size_t{1} << head.bits, entry = core ? 3 : 4;
    if (colours > 65536) {
      throw damaged(name, format, "it declares " + std::to_string(colours) + " colours");
    }
    const size_t declared = colours != 0 ? colours : most;
    for (size_t i = 0; i < std::min(declared, most); ++i) {
      const size_t at = behind + entry * i;
      if (head.offset >= behind && at + entry > head.offset && !(head.offset == behind)) {
        break;  // a palette shorter than declared, with the pixels right behind it
      }
      const auto byte = [&](size_t k) { return static_cast<uint8_t>(file.little(at + k, 1)); };
      head.palette.push_back({byte(2), byte(1), byte(0), 255});
    }
    behind += entry * declared;
    if (head.offset == 14 + header) {  // written by programs that forgot the palette
      head.offset = behind;
    }
  } else {
    read_masks(head, file, header, name);
    behind += (head.compression == masks || head.compression == alpha_masks) && header == 40
                  ? (head.compression == masks ? 12 : 16)
                  : 0;
  }
  head.offset = head.offset == 0 ? behind : head.offset;
  return head;
}

Picture paint_indices(const Head& head, std::vector<uint8_t> indices) {
  return look_up(head.height, head.width, indices, head.palette, false);
}

Picture paint_masked(const Head& head, Bytes data, size_t row) {
  const bool alpha = head.mask[3] != 0;
  Picture out{.height = head.height, .width = head.width, .channels = alpha ? 4 : 3};
  out.bytes.reserve(static_cast<size_t>(head.height * head.width * out.channels));
  const size_t size = static_cast<size_t>(head.bits) / 8;
  int shift[4];
  uint64_t most[4];
  for (size_t c = 0; c < 4; ++c) {
    shift[c] = head.mask[c] != 0 ? std::countr_zero(head.mask[c]) : 0;
    most[c] = head.mask[c] >> shift[c];
  }
  for (int64_t y = 0; y < head.height; ++y) {
    const uint8_t* at = data.data() + static_cast<size_t>(head.top_down ? y : head.height - 1 - y) * row;
    for (int64_t x = 0; x < head.width; ++x, at += size) {
      uint32_t pixel = 0;
      std::memcpy(&pixel, at, size);
      for (size_t c = 0; c < static_cast<size_t>(out.channels); ++c) {
        const uint64_t value = (pixel & head.mask[c]) >> shift[c];
        out.bytes.push_back(static_cast<uint8_t>(most[c] == 255 ? value : value * 255 / most[c]));
      }
    }
  }
  return out;
}

}  // namespace

PictureSize probe_bmp(Bytes file, const std::string& name) {
  const Head head = read_head(file, name);
  return {head.width, head.height};
}

Picture decode_bmp(Bytes file, const std::string& name) {
  const Head head = read_head(file, name);
  const Bytes data = file.subspan(std::min(head.offset, file.size()));
  if (head.compression == rle8 || head.compression == rle4) {
    std::vector<uint8_t> indices;
    if (!unpack_bmp_runs(data, head.compression == rle4, head.width, head.height, indices)) {
      throw damaged(name, format, "its runs are cut off");
    }
    std::vector<uint8_t> turned;
    for (int64_t y = 0; y < head.height && !head.top_down; ++y) {
      const auto row = indices.end() - (y + 1) * head.width;
      turned.insert(turned.end(), row, row + head.width);
    }
    return paint_indices(head, head.top_down ? std::move(indices) : std::move(turned));
  }
  const size_t row = (static_cast<size_t>(head.width) * static_cast<size_t>(head.bits) + 31) / 32 * 4;
  // The padding of the last row is not missed.
  const size_t needed = row * static_cast<size_t>(head.height - 1) +
                        (static_cast<size_t>(head.width) * static_cast<size_t>(head.bits) + 7) / 8;
  if (data.size() < needed) {
    throw damaged(name, format, "it is cut off");
  }
  if (head.bits > 8) {
    return paint_masked(head, data, row);
  }
  std::vector<uint8_t> indices;
  indices.reserve(static_cast<size_t>(head.width * head.height));
  const auto per_byte = static_cast<int64_t>(8 / head.bits);
  for (int64_t y = 0; y < head.height; ++y) {
    const uint8_t* from = data.data() + static_cast<size_t>(head.top_down ? y : head.height - 1 - y) * row;
    for (int64_t x = 0; x < head.width; ++x) {
      const auto shift = static_cast<int>((per_byte - 1 - x % per_byte) * head.bits);
      indices.push_back(static_cast<uint8_t>(from[x / per_byte] >> shift & ((1 << head.bits) - 1)));
    }
  }
  return paint_indices(head, std::move(indices));
}

}  // namespace retort
