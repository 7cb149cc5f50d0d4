#include "picture.h"

#include <cctype>
#include <cstring>

#include "codec.h"

namespace retort {

namespace {

struct Format {
  Picture (*decode)(Bytes, const std::string&);
  PictureSize (*probe)(Bytes, const std::string&);
};

bool begins(Bytes file, const char* magic, size_t length, size_t at = 0) {
  return file.size() >= at + length && std::memcmp(file.data() + at, magic, length) == 0;
}

Format format_of(Bytes file, const std::string& name) {
  if (begins(file, "\x89PNG\r\n\x1a\n", 8)) {
    return {decode_png, probe_png};
  }
  if (begins(file, "\xff\xd8\xff", 3)) {
    return {decode_jpeg, probe_jpeg};
  }
  if (begins(file, "RIFF", 4) && begins(file, "WEBP", 4, 8)) {
    return {decode_webp, probe_webp};
  }
  // Classic TIFF and BigTIFF, in both orders of bytes.
  if (begins(file, "II*\0", 4) || begins(file, "MM\0*", 4) || begins(file, "II+\0", 4) || begins(file, "MM\0+", 4)) {
    return {decode_tiff, probe_tiff};
  }
  if (begins(file, "GIF87a", 6) || begins(file, "GIF89a", 6)) {
    return {decode_gif, probe_gif};
  }
  if (begins(file, "BM", 2)) {
    return {decode_bmp, probe_bmp};
  }
  throw RequestError(name + (file.empty() ? ": is empty" : ": is no picture by its first bytes") +
                     "; expected PNG, JPEG, WebP, TIFF, GIF or BMP");
}

std::string one_line(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 32 || static_cast<unsigned char>(c) >= 127) {
      c = '?';
    }
  }
  return text;
}

}  // namespace

Picture decode_picture(Bytes file, const std::string& name) { return format_of(file, name).decode(file, name); }

PictureSize probe_picture(Bytes file, const std::string& name) { return format_of(file, name).probe(file, name); }

RequestError damaged(const std::string& name, const char* format, const std::string& what) {
  return RequestError(name + ": is a damaged " + format + ": " + one_line(what));
}

RequestError not_read(const std::string& name, const char* format, const std::string& what) {
  return RequestError(name + ": is a " + format + " " + one_line(what));
}

void check_size(const std::string& name, const char* format, int64_t width, int64_t height) {
  if (width < 1 || height < 1) {
    throw damaged(name, format, "it has no pixels");
  }
  if (width > most_pixels_a_side || height > most_pixels_a_side || width * height > most_pixels) {
    throw not_read(name, format,
                   "of " + std::to_string(width) + " x " + std::to_string(height) + " pixels; at most " +
                       std::to_string(most_pixels_a_side) + " a side and " + std::to_string(most_pixels) +
                       " in all are read");
  }
}

}  // namespace retort
