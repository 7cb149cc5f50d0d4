// TIFF by libtiff: the first page, in strips or tiles, of integers up to 32 bits or floating point.
#include <zlib.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "codec.h"
#include "tiff_file.h"

namespace retort {

namespace {

struct Layout {
  size_t width = 0, height = 0;
  uint16_t bits = 0, samples = 0, photometric = 0, sample_format = 0, compression = 0;
  bool separate = false;  // a plane for each channel
  size_t colours = 0;     // channels that are not extra
  bool alpha = false, premultiplied = false;
  bool deep() const { return bits > 8; }
};

Layout read_layout(const TiffFile& file) {
  Layout out;
  out.width = file.width(), out.height = file.height();
  out.bits = file.tag<uint16_t>(TIFFTAG_BITSPERSAMPLE);
  out.samples = file.tag<uint16_t>(TIFFTAG_SAMPLESPERPIXEL);
  out.sample_format = file.tag<uint16_t>(TIFFTAG_SAMPLEFORMAT);
  out.compression = file.tag<uint16_t>(TIFFTAG_COMPRESSION);
  out.separate = file.tag<uint16_t>(TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE;
  if (TIFFGetField(file.get(), TIFFTAG_PHOTOMETRIC, &out.photometric) == 0) {
    out.photometric = PHOTOMETRIC_MINISWHITE;
  }
  if (out.photometric == PHOTOMETRIC_YCBCR && out.compression == COMPRESSION_JPEG) {
    TIFFSetField(file.get(), TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    out.photometric = out.samples == 1 ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_RGB;
  }
  switch (out.photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
    case PHOTOMETRIC_PALETTE:
      out.colours = 1;
      break;
    case PHOTOMETRIC_RGB:
      out.colours = 3;
      break;
    case PHOTOMETRIC_SEPARATED:
      out.colours = 4;
      break;
    default:
      throw file.refuse("with photometric interpretation " + std::to_string(out.photometric) +
                        "; grey, RGB, palette and CMYK are read, and YCbCr compressed as JPEG");
  }
  const bool floats = out.sample_format == SAMPLEFORMAT_IEEEFP;
  const bool known = floats ? out.bits == 16 || out.bits == 32 || out.bits == 64
                            : (out.sample_format == SAMPLEFORMAT_UINT || out.sample_format == SAMPLEFORMAT_INT ||
                               out.sample_format == SAMPLEFORMAT_VOID) &&
                                  out.bits >= 1 && out.bits <= 32;
  if (!known || (out.photometric == PHOTOMETRIC_PALETTE && out.deep())) {
    throw file.refuse("of " + std::to_string(out.bits) + " bits with sample format " +
                      std::to_string(out.sample_format) + ", which is not read");
  }
  if (out.samples < out.colours || out.samples > 16) {
    throw file.refuse("of " + std::to_string(out.samples) + " samples a pixel, which do not make its colours");
  }
  uint16_t extra = 0, *kinds = nullptr;
  TIFFGetFieldDefaulted(file.get(), TIFFTAG_EXTRASAMPLES, &extra, &kinds);
  if (out.samples > out.colours && out.photometric != PHOTOMETRIC_SEPARATED) {
    // RGB with four samples and no word on the fourth has alpha there, as Pillow takes it.
    out.alpha = extra > 0 ? kinds[0] != EXTRASAMPLE_UNSPECIFIED : out.colours == 3 && out.samples == 4;
    out.premultiplied = extra > 0 && kinds[0] == EXTRASAMPLE_ASSOCALPHA;
  }
  return out;
}

// One sample after the other out of a row as libtiff gives it.
class Row {
 public:
  Row(const uint8_t* from, const Layout& layout) : from_(from), bits_(layout.bits) {}

  uint32_t integer() {
    if (bits_ == 8 || bits_ == 16 || bits_ == 24 || bits_ == 32) {  // whole bytes, in this machine's order
      uint32_t out = 0;
      std::memcpy(&out, from_, bits_ / 8U);
      from_ += bits_ / 8U;
      return out;
    }
    uint32_t out = 0;  // packed, the highest bit first
    for (unsigned i = 0; i < bits_; ++i, ++bit_) {
      out = out << 1 | (from_[bit_ / 8] >> (7 - bit_ % 8) & 1U);
    }
    return out;
  }

  double floating() {
    if (bits_ == 16) {
      const uint32_t half = integer();
      const int exponent = half >> 10 & 31;
      const double fraction = half & 1023, sign = (half & 0x8000) != 0 ? -1 : 1;
      return exponent == 31  ? NAN
             : exponent == 0 ? sign * std::ldexp(fraction, -24)
                             : sign * std::ldexp(1024 + fraction, exponent - 25);
    }
    if (bits_ == 32) {
      return std::bit_cast<float>(integer());
    }
    double out = 0;
    std::memcpy(&out, from_, 8);
    from_ += 8;
    return out;
  }

 private:
  const uint8_t* from_;
  unsigned bits_;
  size_t bit_ = 0;
};

// The checksum behind deflated data, which libtiff does not reach once it has its pixels.
void check_deflated(const TiffFile& file, uint32_t part, bool tiled) {
  const uint64_t size = TIFFGetStrileByteCount(file.get(), part);
  std::vector<uint8_t> raw(
      std::min<uint64_t>(size, static_cast<uint64_t>(TIFFGetSizeProc(file.get())(TIFFClientdata(file.get())))));
  const auto length = static_cast<tmsize_t>(raw.size());
  const tmsize_t got = tiled ? TIFFReadRawTile(file.get(), part, raw.data(), length)
                             : TIFFReadRawStrip(file.get(), part, raw.data(), length);
  z_stream stream = {};
  if (got < 1 || inflateInit(&stream) != Z_OK) {
    throw file.fail("its pixels are cut off");
  }
  stream.next_in = raw.data();
  stream.avail_in = static_cast<uInt>(got);
  std::vector<uint8_t> nowhere(size_t{1} << 16);
  int result = Z_OK;
  while (result == Z_OK) {
    stream.next_out = nowhere.data();
    stream.avail_out = static_cast<uInt>(nowhere.size());
    result = inflate(&stream, Z_NO_FLUSH);
  }
  inflateEnd(&stream);
  if (result != Z_STREAM_END) {
    throw file.fail("its compressed data have a wrong checksum, or are cut off");
  }
}

// [height, width, samples]: integers up to 8 bits as stored, deeper ones over their maximum, floats as they are.
struct Samples {
  std::vector<uint8_t> bytes;
  std::vector<float> values;
};

Samples read_samples(TiffFile& file, const Layout& layout) {
  TIFF* const tiff = file.get();
  const bool tiled = TIFFIsTiled(tiff) != 0;
  const size_t all = layout.samples, samples = layout.separate ? 1 : all;
  const size_t part_width = tiled ? file.tag<uint32_t>(TIFFTAG_TILEWIDTH) : layout.width;
  const size_t part_height =
      tiled ? file.tag<uint32_t>(TIFFTAG_TILELENGTH)
            : std::min<size_t>(std::max<uint32_t>(file.tag<uint32_t>(TIFFTAG_ROWSPERSTRIP), 1), layout.height);
  if (part_width < 1 || part_height < 1 || part_width * part_height > static_cast<size_t>(most_pixels)) {
    throw file.fail("its tiles have an impossible size");
  }
  const size_t row_bytes = (part_width * samples * layout.bits + 7) / 8;
  constexpr auto most_samples = static_cast<size_t>(4 * most_pixels);
  if (layout.width * layout.height * all > most_samples || part_width * part_height * samples > most_samples) {
    throw file.refuse("of " + std::to_string(all) + " samples a pixel that is too large");
  }
  std::vector<uint8_t> part(row_bytes * part_height);
  Samples out;
  const size_t count = layout.width * layout.height * all;
  layout.deep() ? out.values.resize(count) : out.bytes.resize(count);
  const bool floats = layout.sample_format == SAMPLEFORMAT_IEEEFP, is_signed = layout.sample_format == SAMPLEFORMAT_INT;
  const double most = std::ldexp(1, layout.bits - (is_signed ? 1 : 0)) - 1;
  const bool deflated =
      (layout.compression == COMPRESSION_ADOBE_DEFLATE || layout.compression == COMPRESSION_DEFLATE) &&
      file.tag<uint16_t>(TIFFTAG_FILLORDER) == FILLORDER_MSB2LSB;
  uint32_t index = 0;
  file.begin_pixels();
  for (size_t plane = 0; plane < (layout.separate ? all : 1); ++plane) {
    for (size_t top = 0; top < layout.height; top += part_height) {
      const size_t rows = std::min(part_height, layout.height - top);
      for (size_t left = 0; left < layout.width; left += part_width, ++index) {
        if (deflated) {
          check_deflated(file, index, tiled);
        }
        const auto needed = static_cast<tmsize_t>(row_bytes * (tiled ? part_height : rows));
        const tmsize_t got = tiled ? TIFFReadEncodedTile(tiff, index, part.data(), needed)
                                   : TIFFReadEncodedStrip(tiff, index, part.data(), needed);
        if (got != needed || file.complained()) {
          throw file.fail("its pixels are cut off");
        }
        const size_t columns = std::min(part_width, layout.width - left);
        for (size_t y = 0; y < rows; ++y) {
          Row row(part.data() + y * row_bytes, layout);
          for (size_t i = 0; i < columns * samples; ++i) {
            const size_t at = ((top + y) * layout.width + left + i / samples) * all + plane + i % samples;
            if (!layout.deep()) {
              out.bytes[at] = static_cast<uint8_t>(row.integer());
            } else if (floats) {
              out.values[at] = static_cast<float>(row.floating());
            } else {
              const uint32_t value = row.integer();
              const auto lifted = static_cast<int32_t>(value << (32 - layout.bits)) >> (32 - layout.bits);
              out.values[at] = static_cast<float>((is_signed ? double{1} * lifted : double{1} * value) / most);
            }
          }
        }
      }
    }
  }
  for (const float v : out.values) {
    if (!std::isfinite(v)) {
      throw file.refuse("that holds samples which are not finite numbers");
    }
  }
  return out;
}

// Drops further samples, scales those below 8 bits, turns min-is-white, and divides by a premultiplied alpha.
Picture paint(const Layout& layout, const Samples& from) {
  Picture out{.height = static_cast<int64_t>(layout.height), .width = static_cast<int64_t>(layout.width)};
  const size_t kept = layout.colours + (layout.alpha ? 1 : 0);
  out.channels = static_cast<int64_t>(kept);
  out.deep = layout.deep();
  const bool whole = layout.sample_format != SAMPLEFORMAT_IEEEFP;
  const bool invert = layout.photometric == PHOTOMETRIC_MINISWHITE && whole;
  const int most = out.deep ? 0 : (1 << layout.bits) - 1;
  const bool scaled = !out.deep && layout.photometric != PHOTOMETRIC_PALETTE;
  const size_t pixels = layout.width * layout.height;
  out.deep ? out.values.reserve(pixels * kept) : out.bytes.reserve(pixels * kept);
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < kept; ++c) {
      const size_t at = i * layout.samples + c;
      if (out.deep) {
        const float alpha = layout.premultiplied ? from.values[i * layout.samples + kept - 1] : 1;
        const float v = invert && c == 0 ? 1 - from.values[at] : from.values[at];
        out.values.push_back(c + 1 < kept && layout.premultiplied ? (alpha > 0 ? v / alpha : 0) : v);
      } else {
        const int stored = scaled ? from.bytes[at] * 255 / most : from.bytes[at];
        const int v = invert && c == 0 ? 255 - stored : stored;
        const int alpha = layout.premultiplied ? from.bytes[i * layout.samples + kept - 1] * 255 / most : 255;
        const int divided = alpha > 0 ? std::min(255, v * 255 / alpha) : 0;
        out.bytes.push_back(static_cast<uint8_t>(c + 1 < kept && layout.premultiplied ? divided : v));
      }
    }
  }
  return out;
}

Picture colour_by_map(const TiffFile& file, const Layout& layout, const Picture& indices) {
  uint16_t *red = nullptr, *green = nullptr, *blue = nullptr;
  if (TIFFGetField(file.get(), TIFFTAG_COLORMAP, &red, &green, &blue) == 0) {
    throw file.fail("it has no colours for its palette");
  }
  std::vector<PaletteColour> palette;
  for (size_t i = 0; i < size_t{1} << layout.bits; ++i) {
    const auto byte = [i](const uint16_t* from) { return static_cast<uint8_t>(from[i] >> 8); };
    palette.push_back({byte(red), byte(green), byte(blue), 255});
  }
  if (!layout.alpha) {
    return look_up(indices.height, indices.width, indices.bytes, palette, false);
  }
  std::vector<uint8_t> plain;
  for (size_t i = 0; i < indices.bytes.size(); i += 2) {
    plain.push_back(indices.bytes[i]);
  }
  Picture out = look_up(indices.height, indices.width, plain, palette, true);
  for (size_t i = 0; i < plain.size(); ++i) {
    out.bytes[4 * i + 3] = indices.bytes[2 * i + 1];
  }
  return out;
}

}  // namespace

PictureSize probe_tiff(Bytes bytes, const std::string& name) {
  const TiffFile file(bytes, name);
  return upright(PictureSize{file.width(), file.height()}, file.tag<uint16_t>(TIFFTAG_ORIENTATION));
}

Picture decode_tiff(Bytes bytes, const std::string& name) {
  TiffFile file(bytes, name);
  const Layout layout = read_layout(file);
  Picture out = paint(layout, read_samples(file, layout));
  if (layout.photometric == PHOTOMETRIC_PALETTE) {
    out = colour_by_map(file, layout, out);
  } else if (layout.photometric == PHOTOMETRIC_SEPARATED) {
    out = cmyk_to_rgb(out);
  }
  return upright(std::move(out), file.tag<uint16_t>(TIFFTAG_ORIENTATION));
}

}  // namespace retort
