// key=value as the command line gives it: read, written as TOML, and read again, it says the same.
#include "config/toml.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  retort::one_line_or_fine([&] {
    retort::Value root;
    retort::apply_override(root, text);
    const std::string written = retort::write_toml(root);
    if (!(retort::parse_toml(written, "written.toml") == root)) {
      std::abort();
    }
  });
  return 0;
}
