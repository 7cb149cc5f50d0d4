/// The idx format of MNIST, plain or gzip-compressed; without LibTorch, so that a fuzzer can be at it.
#pragma once

#include <retort/error.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace retort {

struct IdxFile {
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;
};

/// A file of unsigned bytes: magic 0x0000 08 RANK, then RANK big-endian sizes, then the bytes, and nothing behind them;
/// the checksum of a compressed file is compared. Throws RequestError that names the file and what is wrong with it.
inline IdxFile parse_idx_file(const std::string& path, size_t rank) {
  const auto fail = [&path](const std::string& what) { return RequestError(path + ": " + what); };
  if (!std::filesystem::is_regular_file(path)) {
    throw fail("no such file; expected an idx file");
  }
  if (std::filesystem::file_size(path) == 0) {
    throw fail("is empty; expected an idx file");
  }
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) {
    throw fail("cannot be opened");
  }
  const auto read = [&](void* to, size_t count) {
    auto* out = static_cast<unsigned char*>(to);
    while (count > 0) {
      const auto part = static_cast<unsigned>(std::min<size_t>(count, 1U << 24));
      const int got = gzread(file.get(), out, part);
      if (got <= 0) {
        throw fail("is truncated or damaged; expected a whole idx file");
      }
      out += got;
      count -= static_cast<size_t>(got);
    }
  };
  unsigned char magic[4];
  read(magic, 4);
  if (magic[0] != 0 || magic[1] != 0 || magic[2] != 8 || magic[3] != rank) {
    throw fail("is no idx file of unsigned bytes in " + std::to_string(rank) + " dimension(s)");
  }
  IdxFile out;
  int64_t count = 1;
  for (size_t i = 0; i < rank; ++i) {
    unsigned char b[4];
    read(b, 4);
    out.shape.push_back(int64_t{b[0]} << 24 | b[1] << 16 | b[2] << 8 | b[3]);
    constexpr int64_t most = int64_t{1} << 33;
    if (out.shape.back() == 0 || out.shape.back() > most / count) {
      throw fail("declares an impossible size");
    }
    count *= out.shape.back();
  }
  // Read in pieces, so that a false size fails at the file's end and not in an enormous allocation.
  constexpr int64_t piece = 1 << 22;
  while (static_cast<int64_t>(out.bytes.size()) < count) {
    const size_t old = out.bytes.size();
    out.bytes.resize(static_cast<size_t>(std::min<int64_t>(count, static_cast<int64_t>(old) + piece)));
    read(out.bytes.data() + old, out.bytes.size() - old);
  }
  // The end of the file has to be reached: only there does zlib compare the checksum.
  unsigned char more = 0;
  const int left = gzread(file.get(), &more, 1);
  int code = Z_OK;
  gzerror(file.get(), &code);  // a file whose checksum itself is cut off reads as ended
  if (left < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    throw fail("is damaged: its checksum is wrong, or it is cut off");
  }
  if (left > 0) {
    throw fail("holds more bytes than its sizes say");
  }
  return out;
}

}  // namespace retort
