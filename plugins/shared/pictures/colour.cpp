// From the channels of a file to grey or RGB. The arithmetic of bytes is Pillow's, to the unit.
#include "codec.h"

namespace retort {

namespace {

uint8_t grey_of(int red, int green, int blue) {
  return static_cast<uint8_t>((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16);
}
float grey_of(float red, float green, float blue) { return (299 * red + 587 * green + 114 * blue) / 1000; }

// a * b / 255, rounded.
int scaled(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

uint8_t over(uint8_t front, uint8_t alpha, uint8_t back) {
  const int t = front * alpha + back * (255 - alpha) + 128;
  return static_cast<uint8_t>(((t >> 8) + t) >> 8);
}
float over(float front, float alpha, float back) { return front * alpha + back * (1 - alpha); }

// [height, width, channels] as [C, height, width]. `full` is what the background's 255 stands for.
template <class T>
std::vector<T> planes(const Picture& picture, const T* from, bool grey, const std::optional<Colour>& background,
                      T full) {
  const auto pixels = static_cast<size_t>(picture.height * picture.width);
  const auto channels = static_cast<size_t>(picture.channels);
  const bool coloured = channels >= 3, composed = background && channels % 2 == 0;
  const auto part = [&](uint8_t value) { return static_cast<T>(value * full / 255); };
  const T back[3] = {background ? part(background->red) : T{}, background ? part(background->green) : T{},
                     background ? part(background->blue) : T{}};
  std::vector<T> out(pixels * (grey ? 1 : 3));
  for (size_t i = 0; i < pixels; ++i, from += channels) {
    T rgb[3] = {from[0], from[coloured ? 1 : 0], from[coloured ? 2 : 0]};
    if (composed) {
      for (int c = 0; c < 3; ++c) {
        rgb[c] = over(rgb[c], from[channels - 1], back[c]);
      }
    }
    if (!grey) {
      out[i] = rgb[0];
      out[pixels + i] = rgb[1];
      out[2 * pixels + i] = rgb[2];
    } else if (coloured || composed) {
      out[i] = grey_of(rgb[0], rgb[1], rgb[2]);
    } else {
      out[i] = rgb[0];
    }
  }
  return out;
}

}  // namespace

uint8_t grey_of(const Colour& colour) { return grey_of(int{colour.red}, int{colour.green}, int{colour.blue}); }

std::vector<uint8_t> picture_bytes(const Picture& picture, bool grey, const std::optional<Colour>& background) {
  return planes<uint8_t>(picture, picture.bytes.data(), grey, background, 255);
}

std::vector<float> picture_values(const Picture& picture, bool grey, const std::optional<Colour>& background) {
  if (picture.deep) {
    return planes<float>(picture, picture.values.data(), grey, background, 1);
  }
  const std::vector<uint8_t> bytes = picture_bytes(picture, grey, background);
  std::vector<float> out(bytes.size());
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(bytes[i]) / 255;
  }
  return out;
}

Picture look_up(int64_t height, int64_t width, const std::vector<uint8_t>& indices,
                const std::vector<PaletteColour>& palette, bool with_alpha) {
  Picture out{.height = height, .width = width, .channels = with_alpha ? 4 : 3};
  out.bytes.reserve(indices.size() * static_cast<size_t>(out.channels));
  for (const uint8_t index : indices) {
    // An index beyond the palette is black, as in Pillow.
    const PaletteColour colour = index < palette.size() ? palette[index] : PaletteColour{};
    out.bytes.insert(out.bytes.end(), {colour.red, colour.green, colour.blue});
    if (with_alpha) {
      out.bytes.push_back(colour.alpha);
    }
  }
  return out;
}

Picture cmyk_to_rgb(const Picture& cmyk) {
  Picture out{.height = cmyk.height, .width = cmyk.width, .channels = 3, .deep = cmyk.deep};
  const auto pixels = static_cast<size_t>(cmyk.height * cmyk.width);
  if (cmyk.deep) {
    out.values.resize(3 * pixels);
  } else {
    out.bytes.resize(3 * pixels);
  }
  for (size_t i = 0; i < pixels; ++i) {
    for (size_t c = 0; c < 3; ++c) {
      if (cmyk.deep) {
        out.values[3 * i + c] = (1 - cmyk.values[4 * i + c]) * (1 - cmyk.values[4 * i + 3]);
      } else {
        const int left = 255 - cmyk.bytes[4 * i + 3];
        out.bytes[3 * i + c] = static_cast<uint8_t>(left - scaled(cmyk.bytes[4 * i + c], left));
      }
    }
  }
  return out;
}

}  // namespace retort
