// GIF by giflib: the first frame on its canvas, with the palette's colours under transparency.
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "codec.h"

namespace retort {

namespace {

constexpr const char* format = "GIF";

extern "C" int retort_gif_read(GifFileType* gif, GifByteType* to, int count) {
  Bytes& left = *static_cast<Bytes*>(gif->UserData);
  const size_t given = std::min(left.size(), static_cast<size_t>(count));
  std::memcpy(to, left.data(), given);
  left = left.subspan(given);
  return static_cast<int>(given);
}

struct Close {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};

class Reader {
 public:
  Reader(Bytes file, const std::string& name) : left_(file), name_(name) {
    int error = 0;
    gif_.reset(DGifOpen(&left_, retort_gif_read, &error));
    if (!gif_) {
      throw fail(error);
    }
  }

  // Goes on to the next frame's description, and keeps the transparent index that is told before it. False at the end.
  bool next_frame() {
    for (;;) {
      GifRecordType type = UNDEFINED_RECORD_TYPE;
      check(DGifGetRecordType(gif_.get(), &type));
      if (type == TERMINATE_RECORD_TYPE) {
        return false;
      }
      if (type == IMAGE_DESC_RECORD_TYPE) {
        check(DGifGetImageDesc(gif_.get()));
        return true;
      }
      int code = 0;
      GifByteType* block = nullptr;
      check(DGifGetExtension(gif_.get(), &code, &block));
      for (; block != nullptr; check(DGifGetExtensionNext(gif_.get(), &block))) {
        if (code == GRAPHICS_EXT_FUNC_CODE && block[0] >= 4 && (block[1] & 1) != 0) {
          transparent_ = block[4];
        }
      }
    }
  }

  void read_row(uint8_t* to, int count) { check(DGifGetLine(gif_.get(), to, count)); }

  // The codes of a later frame are not decoded; its blocks only have to be there.
  void skip_pixels() {
    int size = 0;
    GifByteType* block = nullptr;
    check(DGifGetCode(gif_.get(), &size, &block));
    while (block != nullptr) {
      check(DGifGetCodeNext(gif_.get(), &block));
    }
  }

  const GifFileType& gif() const { return *gif_; }
  int transparent() const { return transparent_; }

 private:
  RequestError fail(int error) const {
    const char* what = GifErrorString(error);
    return damaged(name_, format, what != nullptr ? what : "it cannot be read");
  }
  void check(int result) const {
    if (result == GIF_ERROR) {
      throw fail(gif_->Error);
    }
  }

  Bytes left_;
  std::string name_;
  std::unique_ptr<GifFileType, Close> gif_;
  int transparent_ = -1;
};

// A first frame that reaches over the canvas makes it larger.
PictureSize canvas(const GifFileType& gif) {
  const GifImageDesc& frame = gif.Image;
  return {std::max<int64_t>(gif.SWidth, int64_t{frame.Left} + frame.Width),
          std::max<int64_t>(gif.SHeight, int64_t{frame.Top} + frame.Height)};
}

PictureSize first_frame(Reader& reader, const std::string& name) {
  if (!reader.next_frame()) {
    throw damaged(name, format, "it has no frame");
  }
  const PictureSize size = canvas(reader.gif());
  check_size(name, format, size.width, size.height);
  if (reader.gif().Image.Width < 1 || reader.gif().Image.Height < 1) {
    throw damaged(name, format, "its first frame has no pixels");
  }
  return size;
}

std::vector<PaletteColour> palette(const GifFileType& gif, int transparent) {
  const ColorMapObject* map = gif.Image.ColorMap != nullptr ? gif.Image.ColorMap : gif.SColorMap;
  std::vector<PaletteColour> out;
  for (int i = 0; i < 256; ++i) {
    const auto grey = static_cast<uint8_t>(i);  // a file without colours means shades of grey
    const GifColorType colour = map == nullptr        ? GifColorType{grey, grey, grey}
                                : i < map->ColorCount ? map->Colors[i]
                                                      : GifColorType{0, 0, 0};
    out.push_back({colour.Red, colour.Green, colour.Blue, static_cast<uint8_t>(i == transparent ? 0 : 255)});
  }
  return out;
}

}  // namespace

PictureSize probe_gif(Bytes file, const std::string& name) {
  Reader reader(file, name);
  return first_frame(reader, name);
}

Picture decode_gif(Bytes file, const std::string& name) {
  Reader reader(file, name);
  const PictureSize size = first_frame(reader, name);
  const int transparent = reader.transparent();
  const std::vector<PaletteColour> colours = palette(reader.gif(), transparent);
  const GifImageDesc frame = reader.gif().Image;
  // Around a smaller frame stands the transparent index, or the first.
  std::vector<uint8_t> indices(static_cast<size_t>(size.width * size.height),
                               static_cast<uint8_t>(std::max(transparent, 0)));
  const auto read_row = [&](int64_t row) {
    reader.read_row(indices.data() + (frame.Top + row) * size.width + frame.Left, frame.Width);
  };
  if (frame.Interlace) {
    constexpr int64_t first[] = {0, 4, 2, 1}, step[] = {8, 8, 4, 2};
    for (int pass = 0; pass < 4; ++pass) {
      for (int64_t row = first[pass]; row < frame.Height; row += step[pass]) {
        read_row(row);
      }
    }
  } else {
    for (int64_t row = 0; row < frame.Height; ++row) {
      read_row(row);
    }
  }
  while (reader.next_frame()) {
    reader.skip_pixels();
  }
  return look_up(size.height, size.width, indices, colours, transparent >= 0);
}

}  // namespace retort
