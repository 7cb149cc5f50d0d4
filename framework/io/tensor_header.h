/// The header of a safetensors file, held to all that the format says; without LibTorch, so that a fuzzer can be at it.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace retort {

/// A file that is in order, with a tensor of a type that is not read.
struct UnsupportedType : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct TensorType {
  const char* name;  // as the format spells it: "F32"
  uint64_t size;     // bytes of an element
};
/// The type of that name, or null. The same pointer for the same type.
const TensorType* tensor_type(std::string_view name);

/// A tensor's place and form; its bytes are [begin, end) of the data behind the header.
struct TensorEntry {
  std::string name;
  const TensorType* type;
  std::vector<int64_t> shape;
  uint64_t begin, end;
};

struct TensorHeader {
  std::vector<TensorEntry> entries;
  std::map<std::string, std::string> metadata;
};

inline constexpr uint64_t most_tensor_header = 100'000'000;  // bytes; the format's own limit

/// `text` is the header's JSON, `data_size` how many bytes are behind it. Throws std::exception, in one line, on
/// whatever the format forbids: a name twice, tensors that share bytes, bytes that belong to none, sizes that do not
/// multiply out.
TensorHeader read_tensor_header(const std::string& text, uint64_t data_size);

}  // namespace retort
