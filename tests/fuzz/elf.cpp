// libFuzzer on the reader of plugin files: whatever the bytes, names or a RequestError of one line.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "plugin/elf.h"
#include "retort/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string path = "/dev/shm/retort-fuzz-" + std::to_string(getpid()) + ".so";
  static const bool removed_at_exit = std::atexit([] { std::remove(path.c_str()); }) == 0;
  (void)removed_at_exit;
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  try {
    retort::plugin_symbols(path);
  } catch (const retort::RequestError& e) {
    if (std::string(e.what()).find('\n') != std::string::npos) {
      std::abort();
    }
  }
  return 0;
}
