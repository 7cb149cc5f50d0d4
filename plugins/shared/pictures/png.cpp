// PNG by libpng's full interface. Its simplified one converts by gAMA and takes 16 bits for linear light.
#include <png.h>

#include <csetjmp>
#include <cstring>
#include <memory>

#include "codec.h"

namespace retort {

namespace {

constexpr const char* format = "PNG";

struct State {
  Bytes left;
  char error[160] = {};
  bool damaged = false;
};

void keep(State& state, const char* what) {
  if (state.error[0] == 0) {
    std::strncpy(state.error, what, sizeof state.error - 1);
  }
}

extern "C" void retort_png_error(png_structp png, png_const_charp what) {
  keep(*static_cast<State*>(png_get_error_ptr(png)), what);
  png_longjmp(png, 1);
}

extern "C" void retort_png_warning(png_structp png, png_const_charp what) {
  // libpng only warns of a wrong checksum at the end of the pixels. Bytes too many are harmless.
  if (std::strncmp(what, "IDAT:", 5) == 0 && std::strstr(what, "xtra") == nullptr &&
      std::strstr(what, "oo much") == nullptr) {
    State& state = *static_cast<State*>(png_get_error_ptr(png));
    state.damaged = true;
    keep(state, what);
  }
}

extern "C" void retort_png_read(png_structp png, png_bytep to, size_t count) {
  State& state = *static_cast<State*>(png_get_io_ptr(png));
  if (count > state.left.size()) {
    png_error(png, "it is cut off");
  }
  std::memcpy(to, state.left.data(), count);
  state.left = state.left.subspan(count);
}

// libpng leaves the next two functions by longjmp, so they hold nothing that has a destructor.
bool read_head(png_structp png, png_infop info) {
  if (setjmp(png_jmpbuf(png)) != 0) {
    return false;
  }
  png_set_user_limits(png, most_pixels_a_side, most_pixels_a_side);
  png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
  // Gamma, profiles, text and the like are checked by their checksums and otherwise passed over.
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_read_info(png, info);
  png_set_packing(png);  // a byte per sample, and the value as stored
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool read_pixels(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)) != 0) {
    return false;
  }
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

struct Reader {
  explicit Reader(State& state)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, &state, retort_png_error, retort_png_warning)),
        info(png != nullptr ? png_create_info_struct(png) : nullptr) {
    if (info == nullptr) {
      png_destroy_read_struct(&png, nullptr, nullptr);
      throw Error("libpng could not be started");
    }
    png_set_read_fn(png, &state, retort_png_read);
  }
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  png_structp png;
  png_infop info;
};

uint32_t big_endian(Bytes from) {
  return uint32_t{from[0]} << 24 | uint32_t{from[1]} << 16 | uint32_t{from[2]} << 8 | from[3];
}

// By the chunks eXIf and iTXt, which may stand before or behind the pixels.
int orientation(Bytes file) {
  int exif = 0, xmp = 0;
  Bytes left = file.subspan(8);
  while (left.size() >= 12) {
    const size_t length = big_endian(left);
    if (length > left.size() - 12) {
      break;
    }
    const Bytes data = left.subspan(8, length);
    if (std::memcmp(left.data() + 4, "eXIf", 4) == 0 && exif == 0) {
      exif = exif_orientation(data);
    } else if (std::memcmp(left.data() + 4, "iTXt", 4) == 0 && length > 18 &&
               std::memcmp(data.data(), "XML:com.adobe.xmp", 18) == 0 && xmp == 0) {
      xmp = xmp_orientation(data);
    }
    left = left.subspan(12 + length);
  }
  return exif != 0 ? exif : xmp;
}

struct Raw {
  png_uint_32 width = 0, height = 0;
  int depth = 0, colour = 0;
  std::vector<uint8_t> bytes;
  int keys[3] = {-1, -1, -1};  // the transparent value, where there is one
  std::vector<PaletteColour> palette;
  bool palette_alpha = false;
};

Picture paint(const Raw& raw) {
  const int64_t height = raw.height, width = raw.width;
  if (raw.colour == PNG_COLOR_TYPE_PALETTE) {
    return look_up(height, width, raw.bytes, raw.palette, raw.palette_alpha);
  }
  const bool coloured = (raw.colour & PNG_COLOR_MASK_COLOR) != 0, keyed = raw.keys[0] >= 0;
  const size_t stored = (coloured ? 3 : 1) + ((raw.colour & PNG_COLOR_MASK_ALPHA) != 0 ? 1 : 0);
  Picture out{.height = height, .width = width, .channels = static_cast<int64_t>(stored) + (keyed ? 1 : 0)};
  out.deep = raw.depth == 16;
  const auto pixels = static_cast<size_t>(height * width);
  const int most = (1 << raw.depth) - 1;
  const auto fill = [&](auto& to, auto&& value) {
    to.reserve(pixels * static_cast<size_t>(out.channels));
    for (size_t i = 0; i < pixels; ++i) {
      bool clear = keyed;
      for (size_t c = 0; c < stored; ++c) {
        const size_t at = i * stored + c;
        const int sample = out.deep ? raw.bytes[2 * at] << 8 | raw.bytes[2 * at + 1] : raw.bytes[at];
        clear = clear && sample == raw.keys[c];
        to.push_back(value(sample));
      }
      if (keyed) {
        to.push_back(value(clear ? 0 : most));
      }
    }
  };
  if (out.deep) {
    fill(out.values, [](int v) { return static_cast<float>(v / 65535.0); });
  } else {
    fill(out.bytes, [&](int v) { return static_cast<uint8_t>(v * (255 / most)); });
  }
  return out;
}

}  // namespace

PictureSize probe_png(Bytes file, const std::string& name) {
  if (file.size() < 33 || std::memcmp(file.data() + 12, "IHDR", 4) != 0) {
    throw damaged(name, format, "it is cut off");
  }
  const int64_t width = big_endian(file.subspan(16)), height = big_endian(file.subspan(20));
  check_size(name, format, width, height);
  return upright(PictureSize{width, height}, orientation(file));
}

Picture decode_png(Bytes file, const std::string& name) {
  probe_png(file, name);
  State state{.left = file};
  const Reader reader(state);
  if (!read_head(reader.png, reader.info)) {
    throw damaged(name, format, state.error);
  }
  Raw raw;
  raw.width = png_get_image_width(reader.png, reader.info);
  raw.height = png_get_image_height(reader.png, reader.info);
  check_size(name, format, raw.width, raw.height);
  raw.colour = png_get_color_type(reader.png, reader.info);
  raw.depth = file[24];  // as stored: libpng now tells the depth after unpacking
  const size_t row = png_get_rowbytes(reader.png, reader.info);
  raw.bytes.resize(row * raw.height);
  std::vector<png_bytep> rows(raw.height);
  for (size_t y = 0; y < rows.size(); ++y) {
    rows[y] = raw.bytes.data() + y * row;
  }
  png_colorp colours = nullptr;
  int count = 0;
  if (png_get_PLTE(reader.png, reader.info, &colours, &count) != 0) {
    for (int i = 0; i < count; ++i) {
      raw.palette.push_back({colours[i].red, colours[i].green, colours[i].blue, 255});
    }
  }
  png_bytep alphas = nullptr;
  png_color_16p key = nullptr;
  count = 0;
  if (png_get_tRNS(reader.png, reader.info, &alphas, &count, &key) != 0) {
    if (raw.colour == PNG_COLOR_TYPE_PALETTE) {
      raw.palette_alpha = true;
      for (size_t i = 0; i < raw.palette.size() && i < static_cast<size_t>(count); ++i) {
        raw.palette[i].alpha = alphas[i];
      }
    } else if (raw.colour == PNG_COLOR_TYPE_GRAY && key != nullptr) {
      raw.keys[0] = key->gray;
    } else if (raw.colour == PNG_COLOR_TYPE_RGB && key != nullptr) {
      raw.keys[0] = key->red, raw.keys[1] = key->green, raw.keys[2] = key->blue;
    }
  }
  if (!read_pixels(reader.png, rows.data()) || state.damaged) {
    throw damaged(name, format, state.error);
  }
  return upright(paint(raw), orientation(file));
}

}  // namespace retort
