// key=value as the command line gives it: read, written as TOML, and read again, it says the same. (Tables within a
// table are written behind its other keys, so the second text is compared.)
#include "config/toml.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  retort::one_line_or_fine([&] {
    retort::Value root;
    retort::apply_override(root, text);
    const std::string written = retort::write_toml(root);
    if (retort::write_toml(retort::parse_toml(written, "written.toml")) != written) {
      std::abort();
    }
  });
  return 0;
}
