// The reader of idx files, plain and compressed. The first byte says how many dimensions are expected.
#include "shared/idx_file.h"

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const std::string& path = retort::as_file(data + 1, size - 1, ".idx");
  retort::one_line_or_fine([&] {
    const retort::IdxFile file = retort::parse_idx_file(path, 1 + data[0] % 3);
    size_t count = 1;
    for (const int64_t n : file.shape) {
      count *= static_cast<size_t>(n);
    }
    if (count != file.bytes.size()) {
      std::abort();
    }
  });
  return 0;
}
