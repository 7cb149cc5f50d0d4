// The header of safetensors files: the length, the header, then the data. What is accepted is held against the format.
#include <cstring>
#include <map>

#include "fuzz.h"
#include "io/tensor_header.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) {
    return 0;
  }
  uint64_t length = 0;
  std::memcpy(&length, data, 8);
  if (length > size - 8) {
    return 0;
  }
  const std::string text(reinterpret_cast<const char*>(data) + 8, length);
  const uint64_t bytes = size - 8 - length;
  try {
    const retort::TensorHeader header = retort::read_tensor_header(text, bytes);
    std::map<uint64_t, int> owners;  // how many tensors begin less end at a byte
    uint64_t total = 0;
    for (const retort::TensorEntry& e : header.entries) {
      uint64_t product = e.type->size;
      for (const int64_t n : e.shape) {
        product *= static_cast<uint64_t>(n);
      }
      total += e.end - e.begin;
      if (product != e.end - e.begin || e.end > bytes) {
        std::abort();
      }
      owners[e.begin] += 1;
      owners[e.end] -= 1;
    }
    int now = 0;
    for (const auto& [at, change] : owners) {
      now += change;
      if (now > 1) {
        std::abort();
      }
    }
    if (total != bytes) {
      std::abort();
    }
  } catch (const std::exception&) {
  }
  return 0;
}
