/// Safetensors: an 8-byte header length, a JSON header, and the tensors' bytes.
#pragma once

#include <filesystem>
#include <istream>
#include <map>
#include <string>
#include <utility>

#include <c10/core/ScalarType.h>

#include "io/tensor_header.h"
#include "retort/tensor.h"

namespace retort {

struct TensorFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

void write_safetensors(const std::filesystem::path& path, const TensorFile& file);
/// Throws RequestError, in one line, on a missing, truncated or foreign file, whatever its bytes are, and on all that
/// the format forbids: a name twice, tensors that share bytes, bytes that belong to none, sizes that do not multiply
/// out, a header beyond 100 MB or one that is not UTF-8.
TensorFile read_safetensors(const std::filesystem::path& path);
/// The same from `size` bytes that can be sought in; errors call them `name`.
TensorFile read_safetensors(std::istream& in, uint64_t size, const std::string& name);

/// The metadata alone.
std::map<std::string, std::string> read_metadata(const std::filesystem::path& path);

/// The header alone, and where in the file the tensors' bytes begin.
std::pair<TensorHeader, uint64_t> safetensors_header(const std::filesystem::path& path);
/// LibTorch's name of a type.
c10::ScalarType dtype_of(const TensorType* type);

/// One tensor [n, …] from ".safetensors" (its tensor "x") or CSV (a sample a line). `shape` is of one sample; rows of a
/// CSV have as many numbers as it has elements.
Tensor read_samples(const std::filesystem::path& path, const std::vector<int64_t>& shape);
/// By the ending of the path, as above. CSV numbers round-trip.
void write_samples(const std::filesystem::path& path, const Tensor& x);

}  // namespace retort
