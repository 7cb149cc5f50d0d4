// The readers of pictures, whatever the format. What is accepted has as many values as it says, and the size of its
// head.
#include "shared/pictures/picture.h"

#include <zlib.h>

#include <cstring>
#include <vector>

#include "fuzz.h"

namespace {

void decode(retort::Bytes file) {
  retort::one_line_or_fine([&] {
    const retort::PictureSize head = retort::probe_picture(file, "x");
    if (head.width * head.height > 1 << 20) {
      return;  // allowed, but slow
    }
    const retort::Picture picture = retort::decode_picture(file, "x");
    const auto count = static_cast<size_t>(picture.height * picture.width * picture.channels);
    if (picture.channels < 1 || picture.channels > 4 || head != retort::PictureSize{picture.width, picture.height} ||
        (picture.deep ? picture.values.size() : picture.bytes.size()) != count) {
      std::abort();
    }
    for (const bool grey : {false, true}) {
      const auto pixels = static_cast<size_t>(picture.height * picture.width) * (grey ? 1 : 3);
      if (retort::picture_values(picture, grey, retort::Colour{1, 2, 3}).size() != pixels) {
        std::abort();
      }
    }
  });
}

// A changed PNG gets no further than its first checksum, unless they are all made right.
std::vector<uint8_t> with_checksums(retort::Bytes file) {
  std::vector<uint8_t> out(file.begin(), file.end());
  for (size_t at = 8; at + 12 <= out.size();) {
    const size_t length = size_t{out[at]} << 24 | out[at + 1] << 16 | out[at + 2] << 8 | out[at + 3];
    if (length > out.size() - at - 12) {
      break;
    }
    const auto sum = static_cast<uint32_t>(crc32(0, out.data() + at + 4, static_cast<uInt>(length + 4)));
    for (size_t i = 0; i < 4; ++i) {
      out[at + 8 + length + i] = static_cast<uint8_t>(sum >> (24 - 8 * i));
    }
    at += 12 + length;
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  decode({data, size});
  if (size > 8 && std::memcmp(data, "\x89PNG", 4) == 0) {
    decode(with_checksums({data, size}));
  }
  return 0;
}
