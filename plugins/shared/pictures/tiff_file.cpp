#include "tiff_file.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace retort {

namespace {

// What a single value of a directory or a strip may take.
constexpr tmsize_t most_memory = tmsize_t{1} << 30;

// Whether a message is on a tag that the values of pixels depend on.
bool names_values(const std::string& text) {
  for (const char* tag : {"ColorMap", "BitsPerSample", "SampleFormat", "ExtraSamples", "Orientation", "Photometric",
                          "Predictor", "FillOrder", "JPEGTables"}) {
    if (text.find(tag) != std::string::npos) {
      return true;
    }
  }
  return false;
}

std::string spell(const char* what, va_list values) {
  char text[256] = {};
  std::vsnprintf(text, sizeof text, what, values);
  return text;
}

}  // namespace

int TiffFile::keep_error(TIFF*, void* self, const char*, const char* what, va_list values) {
  auto& file = *static_cast<TiffFile*>(self);
  if (file.complaint_.empty()) {
    file.complaint_ = spell(what, values);
  }
  return 1;
}

int TiffFile::keep_warning(TIFF*, void* self, const char*, const char* what, va_list values) {
  auto& file = *static_cast<TiffFile*>(self);
  const std::string text = spell(what, values);
  // "Old-style LZW codes" is history, not damage. And libtiff goes on without a tag that is cut off, a palette
  // included.
  const bool cut_off = text.find("IO error") != std::string::npos && names_values(text);
  if (file.complaint_.empty() && (cut_off || (file.in_pixels_ && text.find("Old-style") == std::string::npos))) {
    file.complaint_ = text;
  }
  file.cut_off_ = file.cut_off_ || cut_off;
  return 1;
}

tmsize_t TiffFile::read(thandle_t self, void* to, tmsize_t count) {
  auto& file = *static_cast<TiffFile*>(self);
  const uint64_t left = file.at_ < file.file_.size() ? file.file_.size() - file.at_ : 0;
  const auto given = std::min<uint64_t>(left, static_cast<uint64_t>(std::max<tmsize_t>(count, 0)));
  std::memcpy(to, file.file_.data() + (given > 0 ? file.at_ : 0), given);
  file.at_ += given;
  return static_cast<tmsize_t>(given);
}

toff_t TiffFile::seek(thandle_t self, toff_t offset, int whence) {
  auto& file = *static_cast<TiffFile*>(self);
  file.at_ = offset + (whence == SEEK_CUR ? file.at_ : whence == SEEK_END ? file.file_.size() : 0);
  return file.at_;
}

toff_t TiffFile::size(thandle_t self) { return static_cast<TiffFile*>(self)->file_.size(); }

int TiffFile::map(thandle_t self, void** base, toff_t* size) {
  const auto& file = *static_cast<TiffFile*>(self);
  *base = const_cast<uint8_t*>(file.file_.data());  // opened for reading, it is not written to
  *size = file.file_.size();
  return 1;
}

TiffFile::TiffFile(Bytes file, const std::string& name) : file_(file), name_(name) {
  const std::unique_ptr<TIFFOpenOptions, void (*)(TIFFOpenOptions*)> options(TIFFOpenOptionsAlloc(),
                                                                             TIFFOpenOptionsFree);
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_error, this);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), keep_warning, this);
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), most_memory);
  const auto write = [](thandle_t, void*, tmsize_t) -> tmsize_t { return 0; };
  const auto close = [](thandle_t) { return 0; };
  const auto unmap = [](thandle_t, void*, toff_t) {};
  tiff_.reset(TIFFClientOpenExt("picture", "r", this, read, write, seek, close, size, map, unmap, options.get()));
  if (!tiff_ || cut_off_) {
    throw fail("its head is broken");
  }
  check_size(name_, "TIFF", width(), height());
}

RequestError TiffFile::fail(const std::string& fallback) const {
  return damaged(name_, "TIFF", complained() ? complaint_ : fallback);
}

}  // namespace retort
