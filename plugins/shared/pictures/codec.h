/// What the readers of the single formats share. Each reads all of a file, or its head, and throws RequestError.
#pragma once

#include <retort/error.h>

#include "picture.h"

namespace retort {

Picture decode_png(Bytes file, const std::string& name);
Picture decode_jpeg(Bytes file, const std::string& name);
Picture decode_webp(Bytes file, const std::string& name);
Picture decode_tiff(Bytes file, const std::string& name);
Picture decode_gif(Bytes file, const std::string& name);
Picture decode_bmp(Bytes file, const std::string& name);

PictureSize probe_png(Bytes file, const std::string& name);
PictureSize probe_jpeg(Bytes file, const std::string& name);
PictureSize probe_webp(Bytes file, const std::string& name);
PictureSize probe_tiff(Bytes file, const std::string& name);
PictureSize probe_gif(Bytes file, const std::string& name);
PictureSize probe_bmp(Bytes file, const std::string& name);

/// "NAME: is a damaged FORMAT: WHAT" on one line, whatever bytes are in `what`.
RequestError damaged(const std::string& name, const char* format, const std::string& what);
/// "NAME: is a FORMAT WHAT" for what is sound, but not read.
RequestError not_read(const std::string& name, const char* format, const std::string& what);
/// Throws for an empty or a too large picture.
void check_size(const std::string& name, const char* format, int64_t width, int64_t height);

/// Orientation 1 to 8 by EXIF data (a TIFF structure, with or without "Exif\0\0" before it); 0 where it has none.
int exif_orientation(Bytes exif);
/// The same by an XMP packet.
int xmp_orientation(Bytes packet);
/// The picture upright. An orientation outside 2 to 8 leaves it as it is.
Picture upright(Picture picture, int orientation);
PictureSize upright(PictureSize size, int orientation);

/// Colours of a palette, with alpha.
struct PaletteColour {
  uint8_t red = 0, green = 0, blue = 0, alpha = 255;
};
/// Looks `indices` ([height, width]) up. The alpha channel is there only if `with_alpha`.
Picture look_up(int64_t height, int64_t width, const std::vector<uint8_t>& indices,
                const std::vector<PaletteColour>& palette, bool with_alpha);
/// Four channels of ink to RGB by the formula of Pillow, without any profile.
Picture cmyk_to_rgb(const Picture& cmyk);

}  // namespace retort
