/// The tensors of a safetensors file, left on the disk until they are read: embeddings of a data set may be larger than
/// the memory.
#pragma once

#include <retort/error.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace retort {

namespace mapped {

using Json = nlohmann::json;

/// The header, and where the bytes behind it begin.
inline std::pair<Json, int64_t> read_header(const std::string& path, int64_t size) {
  constexpr int64_t prefix = 8, most = 100'000'000;  // the format's own limit
  std::ifstream in(path, std::ios::binary);
  unsigned char length[prefix] = {};
  in.read(reinterpret_cast<char*>(length), prefix);
  uint64_t count = 0;
  for (int64_t i = prefix; i-- > 0;) {
    count = count << 8 | length[i];
  }
  if (!in || size < prefix || count > static_cast<uint64_t>(std::min(size - prefix, most))) {
    throw RequestError(path + ": is no safetensors file, or truncated");
  }
  std::string text(count, '\0');
  in.read(text.data(), static_cast<std::streamsize>(count));
  Json header = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!in || !header.is_object()) {
    throw RequestError(path + ": is a damaged safetensors file: its header is no JSON");
  }
  return {std::move(header), prefix + static_cast<int64_t>(count)};
}

/// One tensor of `data`, [bytes] behind the header. Throws what JSON throws, or Error, where the entry is not as the
/// format has it.
inline Tensor read_entry(const Json& entry, const Tensor& data) {
  static const std::map<std::string, at::ScalarType> types = {
      {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
      {"I64", at::kLong},   {"I32", at::kInt},   {"U8", at::kByte},  {"BOOL", at::kBool}};
  const at::ScalarType type = types.at(entry.at("dtype").get<std::string>());
  const auto shape = entry.at("shape").get<std::vector<int64_t>>();
  const auto offsets = entry.at("data_offsets").get<std::vector<int64_t>>();
  int64_t bytes = static_cast<int64_t>(c10::elementSize(type));
  for (const int64_t n : shape) {
    if (n < 0 || __builtin_mul_overflow(bytes, n, &bytes)) {
      throw Error("its shape is impossible");
    }
  }
  if (offsets.size() != 2 || offsets[0] < 0 || offsets[1] > data.size(0) || offsets[1] - offsets[0] != bytes) {
    throw Error("its offsets do not fit its shape, or the file");
  }
  Tensor own = data.narrow(0, offsets[0], bytes);
  if (own.storage_offset() % static_cast<int64_t>(c10::elementSize(type)) != 0) {
    own = own.clone();  // others can be read where they lie
  }
  return own.view(type).view(shape);
}

}  // namespace mapped

/// By name. Throws RequestError, in one line, where the file is missing or not as the format has it.
inline std::map<std::string, Tensor> map_safetensors(const std::string& path) {
  if (!std::filesystem::is_regular_file(path)) {
    throw RequestError(path + ": no such file; expected a safetensors file");
  }
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  const auto [header, begin] = mapped::read_header(path, size);
  const Tensor data =
      at::from_file(path, /*shared=*/false, size, at::TensorOptions().dtype(at::kByte)).narrow(0, begin, size - begin);
  std::map<std::string, Tensor> out;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      continue;
    }
    try {
      out.emplace(name, mapped::read_entry(entry, data));
    } catch (const std::exception&) {
      throw RequestError(path + ": is a damaged safetensors file: tensor '" + name.substr(0, 80) +
                         "' is not as the format has it");
    }
  }
  return out;
}

}  // namespace retort
