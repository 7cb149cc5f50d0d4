// The reader of plugin files.
#include "fuzz.h"
#include "plugin/elf.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  retort::one_line_or_fine([&] { retort::plugin_symbols(retort::as_file(data, size, ".so")); });
  retort::one_line_or_fine([&] { retort::plugin_about(retort::as_file(data, size, ".so")); });
  return 0;
}
