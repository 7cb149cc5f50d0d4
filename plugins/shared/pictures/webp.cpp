// WebP by libwebp, still or animated: the first frame on its canvas.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>

#include "codec.h"

namespace retort {

namespace {

constexpr const char* format = "WebP";

struct DeleteDemuxer {
  void operator()(WebPDemuxer* it) const { WebPDemuxDelete(it); }
};
struct DeleteDecoder {
  void operator()(WebPAnimDecoder* it) const { WebPAnimDecoderDelete(it); }
};

int orientation(const WebPDemuxer* demuxer) {
  const auto chunk = [&](const char* name, int (*read)(Bytes)) {
    WebPChunkIterator it;
    int out = 0;
    if (WebPDemuxGetChunk(demuxer, name, 1, &it) != 0) {
      out = read({it.chunk.bytes, it.chunk.size});
    }
    WebPDemuxReleaseChunkIterator(&it);
    return out;
  };
  const int exif = chunk("EXIF", exif_orientation);
  return exif != 0 ? exif : chunk("XMP ", xmp_orientation);
}

PictureSize canvas(const WebPDemuxer* demuxer, const std::string& name) {
  const int64_t width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH);
  const int64_t height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
  check_size(name, format, width, height);
  return {width, height};
}

}  // namespace

PictureSize probe_webp(Bytes file, const std::string& name) {
  const WebPData data = {file.data(), file.size()};
  WebPDemuxState state = WEBP_DEMUX_PARSE_ERROR;
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemuxPartial(&data, &state));
  if (!demuxer || state <= WEBP_DEMUX_PARSING_HEADER) {
    throw damaged(name, format, "its head is broken or cut off");
  }
  return upright(canvas(demuxer.get(), name), orientation(demuxer.get()));
}

Picture decode_webp(Bytes file, const std::string& name) {
  const WebPData data = {file.data(), file.size()};
  const std::unique_ptr<WebPDemuxer, DeleteDemuxer> demuxer(WebPDemux(&data));  // null for a file that is cut off
  if (!demuxer) {
    throw damaged(name, format, "its structure is broken, or it is cut off");
  }
  const PictureSize size = canvas(demuxer.get(), name);
  WebPAnimDecoderOptions options;
  if (WebPAnimDecoderOptionsInit(&options) == 0) {
    throw Error("libwebp could not be started");
  }
  options.color_mode = MODE_RGBA;
  options.use_threads = 0;
  const std::unique_ptr<WebPAnimDecoder, DeleteDecoder> decoder(WebPAnimDecoderNew(&data, &options));
  uint8_t* pixels = nullptr;
  int time = 0;
  if (!decoder || WebPAnimDecoderGetNext(decoder.get(), &pixels, &time) == 0) {
    throw damaged(name, format, "its pixels cannot be decoded");
  }
  const bool alpha = (WebPDemuxGetI(demuxer.get(), WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) != 0;
  Picture out{.height = size.height, .width = size.width, .channels = alpha ? 4 : 3};
  const auto count = static_cast<size_t>(size.height * size.width);
  if (alpha) {
    out.bytes.assign(pixels, pixels + 4 * count);
  } else {
    out.bytes.resize(3 * count);
    for (size_t i = 0; i < count; ++i) {
      for (size_t c = 0; c < 3; ++c) {
        out.bytes[3 * i + c] = pixels[4 * i + c];
      }
    }
  }
  return upright(std::move(out), orientation(demuxer.get()));
}

}  // namespace retort
