/// A TIFF in memory, opened by libtiff with handlers of its own, so that nothing is printed and threads do not meet.
#pragma once

#include <tiffio.h>

#include <memory>
#include <string>

#include "codec.h"

namespace retort {

class TiffFile {
 public:
  /// Throws RequestError where the first directory cannot be read.
  TiffFile(Bytes file, const std::string& name);
  TiffFile(const TiffFile&) = delete;
  TiffFile& operator=(const TiffFile&) = delete;

  TIFF* get() const { return tiff_.get(); }
  /// From here on, warnings count too: those on pixels mean that some are lost.
  void begin_pixels() {
    in_pixels_ = true;
    complaint_.clear();
  }
  bool complained() const { return !complaint_.empty(); }
  RequestError fail(const std::string& fallback) const;
  RequestError refuse(const std::string& what) const { return not_read(name_, "TIFF", what); }

  /// A tag with its default value; 0 where it has none.
  template <class T>
  T tag(uint32_t which) const {
    T out{};
    TIFFGetFieldDefaulted(get(), which, &out);
    return out;
  }
  uint32_t width() const { return tag<uint32_t>(TIFFTAG_IMAGEWIDTH); }
  uint32_t height() const { return tag<uint32_t>(TIFFTAG_IMAGELENGTH); }
  const std::string& name() const { return name_; }

 private:
  struct Close {
    void operator()(TIFF* tiff) const { TIFFClose(tiff); }
  };
  static int keep_error(TIFF*, void* self, const char* module, const char* what, va_list values);
  static int keep_warning(TIFF*, void* self, const char* module, const char* what, va_list values);
  static tmsize_t read(thandle_t self, void* to, tmsize_t count);
  static toff_t seek(thandle_t self, toff_t offset, int whence);
  static toff_t size(thandle_t self);
  static int map(thandle_t self, void** base, toff_t* size);

  Bytes file_;
  std::string name_;
  uint64_t at_ = 0;
  bool in_pixels_ = false;
  bool cut_off_ = false;  // a tag was
  std::string complaint_;
  std::unique_ptr<TIFF, Close> tiff_;
};

}  // namespace retort
