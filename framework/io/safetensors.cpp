#include "io/safetensors.h"

#include <ATen/ATen.h>

#include <charconv>
#include <fstream>
#include <sstream>

#include "io/files.h"
#include "io/json.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

struct Type {
  const char* name;
  at::ScalarType dtype;
};
constexpr Type types[] = {{"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
                          {"I64", at::kLong},   {"I32", at::kInt},   {"U8", at::kByte},  {"BOOL", at::kBool}};

constexpr uint64_t most_header = 100'000'000;  // the format's own limit

// A tensor's place and form, as one entry of the header declares it.
struct Entry {
  at::ScalarType dtype;
  std::vector<int64_t> shape;
  uint64_t begin;
  uint64_t end;
};

Entry read_entry(const Json& json, uint64_t data_size) {
  const auto name = json.at("dtype").get<std::string>();
  const Type* type = nullptr;
  for (const Type& t : types) {
    if (name == t.name) {
      type = &t;
    }
  }
  if (type == nullptr) {
    throw std::runtime_error("the data type " + name + " is not supported");
  }
  Entry entry{type->dtype, json.at("shape").get<std::vector<int64_t>>(), json.at("data_offsets").at(0).get<uint64_t>(),
              json.at("data_offsets").at(1).get<uint64_t>()};
  uint64_t bytes = at::elementSize(type->dtype);
  for (const int64_t n : entry.shape) {
    if (n < 0 || (n > 0 && bytes > data_size / static_cast<uint64_t>(n))) {
      throw std::runtime_error("a shape does not fit the file");
    }
    bytes *= static_cast<uint64_t>(n);
  }
  if (entry.begin > entry.end || entry.end > data_size || entry.end - entry.begin != bytes) {
    throw std::runtime_error("a tensor reaches beyond the file");
  }
  return entry;
}

}  // namespace

void write_safetensors(const fs::path& path, const TensorFile& file) {
  Json header = Json::object();
  if (!file.metadata.empty()) {
    header["__metadata__"] = file.metadata;
  }
  uint64_t offset = 0;
  std::vector<Tensor> tensors;
  for (const auto& [name, tensor] : file.tensors) {
    const Tensor plain = tensor.detach().to(at::kCPU).contiguous();
    const char* type = nullptr;
    for (const Type& t : types) {
      if (t.dtype == plain.scalar_type()) {
        type = t.name;
      }
    }
    header[name] = {
        {"dtype", type}, {"shape", plain.sizes().vec()}, {"data_offsets", {offset, offset + plain.nbytes()}}};
    offset += plain.nbytes();
    tensors.push_back(plain);
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins at a multiple of 8
  write_atomically(path, [&](std::ostream& out) {
    uint64_t size = text.size();
    char length[8];
    for (char& byte : length) {
      byte = static_cast<char>(size & 255);
      size >>= 8;
    }
    out.write(length, 8);
    out << text;
    for (const Tensor& t : tensors) {
      out.write(static_cast<const char*>(t.data_ptr()), static_cast<std::streamsize>(t.nbytes()));
    }
  });
}

TensorFile read_safetensors(const fs::path& path) {
  const auto fail = [&path](const std::string& what) { return RequestError(path.string() + ": " + what); };
  if (!fs::is_regular_file(path)) {
    throw fail("no such file; expected a safetensors file");
  }
  const uint64_t size = fs::file_size(path);
  std::ifstream in(path, std::ios::binary);
  unsigned char length[8];
  if (!in.read(reinterpret_cast<char*>(length), 8)) {
    throw fail("is too short for a safetensors file");
  }
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) {
    header_size = header_size << 8 | length[i];
  }
  if (header_size > most_header || header_size > size - 8) {
    throw fail("is no safetensors file, or truncated (its header is longer than the file)");
  }
  std::string text(header_size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(header_size));
  const uint64_t data_start = 8 + header_size;
  TensorFile out;
  try {
    const Json header = Json::parse(text);
    if (!header.is_object()) {
      throw std::runtime_error("its header is no table");
    }
    for (const auto& [name, json] : header.items()) {
      if (name == "__metadata__") {
        out.metadata = json.get<std::map<std::string, std::string>>();
        continue;
      }
      const Entry entry = read_entry(json, size - data_start);
      Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(entry.dtype));
      in.seekg(static_cast<std::streamoff>(data_start + entry.begin));
      if (entry.end > entry.begin &&
          !in.read(static_cast<char*>(tensor.data_ptr()), static_cast<std::streamsize>(entry.end - entry.begin))) {
        throw std::runtime_error("it is truncated");
      }
      out.tensors[name] = tensor;
    }
  } catch (const std::exception& e) {
    const std::string what = e.what();
    throw fail("is a damaged safetensors file: " + what.substr(0, what.find('\n')));
  }
  return out;
}

namespace {

Tensor read_csv(const fs::path& path, int64_t columns) {
  std::ifstream in(path);
  if (!fs::is_regular_file(path) || !in) {
    throw RequestError(path.string() + ": no such file; expected CSV, a sample a line");
  }
  std::vector<double> numbers;
  int64_t line_number = 0;
  for (std::string line; std::getline(in, line);) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    std::stringstream cells(line);
    int64_t count = 0;
    for (std::string cell; std::getline(cells, cell, ',');) {
      const size_t first = cell.find_first_not_of(" \t+");
      const size_t last = cell.find_last_not_of(" \t\r");
      double value = 0;
      const char* begin = cell.data() + (first == std::string::npos ? 0 : first);
      const char* end = cell.data() + (last == std::string::npos ? 0 : last + 1);
      const auto result =
          begin < end ? std::from_chars(begin, end, value) : std::from_chars_result{begin, std::errc::invalid_argument};
      if (result.ec != std::errc() || result.ptr != end) {
        throw RequestError(path.string() + ":" + std::to_string(line_number) + ": '" + cell.substr(0, 40) +
                           "' is no number");
      }
      numbers.push_back(value);
      ++count;
    }
    if (count != columns) {
      throw RequestError(path.string() + ":" + std::to_string(line_number) + ": has " + std::to_string(count) +
                         " number(s); expected " + std::to_string(columns));
    }
  }
  return at::tensor(numbers, at::kDouble).view({-1, columns});
}

}  // namespace

Tensor read_samples(const fs::path& path, const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t n : shape) {
    elements *= n;
  }
  std::vector<int64_t> full = {-1};
  full.insert(full.end(), shape.begin(), shape.end());
  if (path.extension() != ".safetensors") {
    return read_csv(path, elements).view(full);
  }
  const TensorFile file = read_safetensors(path);
  const auto found = file.tensors.find("x");
  if (found == file.tensors.end()) {
    throw RequestError(path.string() + ": has no tensor 'x'");
  }
  const Tensor x = found->second;
  if (x.dim() == 0 || x.numel() != x.size(0) * elements) {
    throw RequestError(path.string() + ": tensor 'x' does not hold samples of " + std::to_string(elements) +
                       " number(s)");
  }
  return x.reshape(full);
}

void write_samples(const fs::path& path, const Tensor& x) {
  if (path.extension() == ".safetensors") {
    write_safetensors(path, {{{"x", x}}, {}});
    return;
  }
  const bool single = x.scalar_type() == at::kFloat;
  const Tensor table = x.flatten(1).to(at::kCPU, at::kDouble).contiguous();
  write_atomically(path, [&](std::ostream& out) {
    const double* v = table.data_ptr<double>();
    char buffer[40];
    for (int64_t i = 0; i < table.size(0); ++i) {
      for (int64_t j = 0; j < table.size(1); ++j, ++v) {
        const auto end = single ? std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(*v))
                                : std::to_chars(buffer, buffer + sizeof buffer, *v);
        out << (j > 0 ? "," : "") << std::string_view(buffer, static_cast<size_t>(end.ptr - buffer));
      }
      out << '\n';
    }
  });
}

}  // namespace retort
