// JPEG by libjpeg-turbo with its default, accurate settings.
#include <cstdio>  // jpeglib.h needs it

#include <jpeglib.h>
#include <jerror.h>

#include <csetjmp>
#include <cstring>

#include "codec.h"

namespace retort {

namespace {

constexpr const char* format = "JPEG";

struct Errors : jpeg_error_mgr {
  std::jmp_buf out;
  char text[JMSG_LENGTH_MAX] = {};
};

[[noreturn]] void leave(j_common_ptr info) { std::longjmp(static_cast<Errors*>(info->err)->out, 1); }

extern "C" void retort_jpeg_error(j_common_ptr info) {
  info->err->format_message(info, static_cast<Errors*>(info->err)->text);
  leave(info);
}

extern "C" void retort_jpeg_message(j_common_ptr info, int level) {
  // These warnings mean that pixels are lost or made up. Others, on strange but harmless files, are passed over.
  const int code = info->err->msg_code;
  if (level < 0 && (code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE || code == JWRN_ARITH_BAD_CODE ||
                    code == JWRN_JPEG_EOF || code == JWRN_MUST_RESYNC)) {
    retort_jpeg_error(info);
  }
}

extern "C" void retort_jpeg_silence(j_common_ptr) {}

extern "C" void retort_jpeg_progress(j_common_ptr info) {
  // A small file of very many scans would take minutes.
  if (info->is_decompressor != 0 && reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > 200) {
    std::strcpy(static_cast<Errors*>(info->err)->text, "it has more than 200 scans");
    leave(info);
  }
}

struct Reader {
  Reader() {
    std::memset(&info, 0, sizeof info);
    info.err = jpeg_std_error(&errors);
    errors.error_exit = retort_jpeg_error;
    errors.emit_message = retort_jpeg_message;
    errors.output_message = retort_jpeg_silence;
    progress.progress_monitor = retort_jpeg_progress;
  }
  ~Reader() { jpeg_destroy_decompress(&info); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  jpeg_decompress_struct info;
  Errors errors;
  jpeg_progress_mgr progress = {};
};

// libjpeg leaves the next two functions by longjmp, so they hold nothing that has a destructor.
bool read_head(Reader& reader, const uint8_t* file, size_t size) {
  if (setjmp(reader.errors.out) != 0) {
    return false;
  }
  jpeg_create_decompress(&reader.info);
  reader.info.progress = &reader.progress;
  jpeg_mem_src(&reader.info, file, size);
  jpeg_save_markers(&reader.info, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(&reader.info, TRUE);
  return true;
}

bool read_pixels(Reader& reader, uint8_t* to, size_t row) {
  if (setjmp(reader.errors.out) != 0) {
    return false;
  }
  jpeg_start_decompress(&reader.info);
  while (reader.info.output_scanline < reader.info.output_height) {
    JSAMPROW line = to + reader.info.output_scanline * row;
    jpeg_read_scanlines(&reader.info, &line, 1);
  }
  jpeg_finish_decompress(&reader.info);
  return true;
}

int orientation(const jpeg_decompress_struct& info) {
  int exif = 0, xmp = 0;
  constexpr char exif_head[] = "Exif\0", xmp_head[] = "http://ns.adobe.com/xap/1.0/";
  for (jpeg_saved_marker_ptr marker = info.marker_list; marker != nullptr; marker = marker->next) {
    const Bytes data(marker->data, marker->data_length);
    if (data.size() > sizeof exif_head && std::memcmp(data.data(), exif_head, sizeof exif_head) == 0) {
      exif = exif != 0 ? exif : exif_orientation(data);
    } else if (data.size() > sizeof xmp_head && std::memcmp(data.data(), xmp_head, sizeof xmp_head) == 0) {
      xmp = xmp != 0 ? xmp : xmp_orientation(data);
    }
  }
  return exif != 0 ? exif : xmp;
}

void start(Reader& reader, Bytes file, const std::string& name) {
  if (!read_head(reader, file.data(), file.size())) {
    throw damaged(name, format, reader.errors.text);
  }
  check_size(name, format, reader.info.image_width, reader.info.image_height);
}

}  // namespace

PictureSize probe_jpeg(Bytes file, const std::string& name) {
  Reader reader;
  start(reader, file, name);
  return upright(PictureSize{reader.info.image_width, reader.info.image_height}, orientation(reader.info));
}

Picture decode_jpeg(Bytes file, const std::string& name) {
  Reader reader;
  start(reader, file, name);
  jpeg_decompress_struct& info = reader.info;
  const bool grey = info.jpeg_color_space == JCS_GRAYSCALE;
  const bool ink = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = grey ? JCS_GRAYSCALE : ink ? JCS_CMYK : JCS_RGB;
  const int turn = orientation(info);  // the end of the decompression forgets the markers
  Picture out{.height = info.image_height, .width = info.image_width, .channels = grey ? 1 : ink ? 4 : 3};
  const auto row = static_cast<size_t>(out.width * out.channels);
  out.bytes.resize(row * static_cast<size_t>(out.height));
  if (!read_pixels(reader, out.bytes.data(), row)) {
    throw damaged(name, format, reader.errors.text);
  }
  if (ink) {
    for (uint8_t& v : out.bytes) {  // inverted in practice, by Adobe's example
      v = static_cast<uint8_t>(255 - v);
    }
    out = cmyk_to_rgb(out);
  }
  return upright(std::move(out), turn);
}

}  // namespace retort
