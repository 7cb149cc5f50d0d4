/// What the fuzzers share.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "retort/error.h"

namespace retort {

/// Calls a reader, which may refuse what it is given by a RequestError of one line and in no other way.
template <class F>
void one_line_or_fine(F read) {
  try {
    read();
  } catch (const RequestError& e) {
    if (std::string(e.what()).find('\n') != std::string::npos) {
      std::abort();
    }
  }
}

/// A file in memory that holds these bytes, for readers of files; removed at the end.
inline const std::string& as_file(const uint8_t* data, size_t size, const char* ending) {
  static const std::string path = "/dev/shm/retort-fuzz-" + std::to_string(getpid()) + ending;
  static const bool removed_at_exit = std::atexit([] { std::remove(path.c_str()); }) == 0;
  (void)removed_at_exit;
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  return path;
}

}  // namespace retort
