#include "io/safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>

#include "io/csv.h"
#include "io/files.h"
#include "io/json.h"
#include "io/tensor_header.h"
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

}  // namespace

c10::ScalarType dtype_of(const TensorType* type) {
  return std::find_if(std::begin(types), std::end(types),
                      [&](const Type& t) { return type->name == std::string_view(t.name); })
      ->dtype;
}

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
    if (type == nullptr) {
      throw Error(path.string() + ": cannot be written: '" + name + "' is of type " +
                  c10::toString(plain.scalar_type()) + ", which is not supported");
    }
    header[name] = {
        {"dtype", type}, {"shape", plain.sizes().vec()}, {"data_offsets", {offset, offset + plain.nbytes()}}};
    offset += plain.nbytes();
    tensors.push_back(plain);
  }
  std::string text = spell(header);
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

namespace {

RequestError damaged(const std::string& name, const std::exception& e) {
  const std::string what = e.what();
  return RequestError(name + ": is a damaged safetensors file: " + what.substr(0, what.find('\n')));
}

// The header, and where the data behind it begins.
std::pair<TensorHeader, uint64_t> read_header(std::istream& in, uint64_t size, const std::string& name) {
  const auto fail = [&name](const std::string& what) { return RequestError(name + ": " + what); };
  unsigned char length[8];
  if (size < 8 || !in.read(reinterpret_cast<char*>(length), 8)) {
    throw fail("is too short for a safetensors file");
  }
  if (std::string_view(reinterpret_cast<char*>(length), sizeof length) == "version ") {  // never a header's length
    throw fail(
        "is a pointer of Git LFS in place of the file itself; expected a safetensors file (git lfs pull brings it)");
  }
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) {
    header_size = header_size << 8 | length[i];
  }
  if (header_size > size - 8) {
    throw fail("is no safetensors file, or truncated (its header is longer than the file)");
  }
  if (header_size > most_tensor_header) {
    throw fail("is no safetensors file (its header is longer than the format's 100 MB)");
  }
  std::string text(header_size, '\0');
  in.read(text.data(), static_cast<std::streamsize>(header_size));
  const uint64_t data_start = 8 + header_size;
  try {
    return {read_tensor_header(text, size - data_start), data_start};
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const UnsupportedType& e) {
    const std::string what = e.what();
    throw fail(what.substr(0, what.find('\n')));
  } catch (const std::exception& e) {
    throw damaged(name, e);
  }
}

std::ifstream open_tensors(const fs::path& path) {
  if (!fs::is_regular_file(path)) {
    throw RequestError(path.string() + ": no such file; expected a safetensors file");
  }
  return std::ifstream(path, std::ios::binary);
}

}  // namespace

TensorFile read_safetensors(std::istream& in, uint64_t size, const std::string& name) {
  auto [header, data_start] = read_header(in, size, name);
  TensorFile out;
  out.metadata = std::move(header.metadata);
  try {
    for (const TensorEntry& entry : header.entries) {
      const at::ScalarType dtype = dtype_of(entry.type);
      Tensor tensor = at::empty(entry.shape, at::TensorOptions().dtype(dtype));
      in.seekg(static_cast<std::streamoff>(data_start + entry.begin));
      auto* bytes = static_cast<uint8_t*>(tensor.data_ptr());
      const uint64_t count = entry.end - entry.begin;
      if (count > 0 && !in.read(reinterpret_cast<char*>(bytes), static_cast<std::streamsize>(count))) {
        throw std::runtime_error("it is truncated");
      }
      if (dtype == at::kBool && std::any_of(bytes, bytes + count, [](uint8_t b) { return b > 1; })) {
        throw std::runtime_error("tensor '" + entry.name + "' is of booleans and holds others than 0 and 1");
      }
      out.tensors[entry.name] = tensor;
    }
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& e) {
    throw damaged(name, e);
  }
  return out;
}

TensorFile read_safetensors(const fs::path& path) {
  std::ifstream in = open_tensors(path);
  return read_safetensors(in, fs::file_size(path), path.string());
}

std::pair<TensorHeader, uint64_t> safetensors_header(const fs::path& path) {
  std::ifstream in = open_tensors(path);
  return read_header(in, fs::file_size(path), path.string());
}

std::map<std::string, std::string> read_metadata(const fs::path& path) {
  return safetensors_header(path).first.metadata;
}

namespace {

Tensor read_csv(const fs::path& path, int64_t columns) {
  std::ifstream in(path);
  if (!fs::is_regular_file(path) || !in) {
    throw RequestError(path.string() + ": no such file; expected CSV, a sample a line");
  }
  return at::tensor(parse_csv(in, path.string(), columns), at::kDouble).view({-1, columns});
}

}  // namespace

Tensor read_samples(const fs::path& path, const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t n : shape) {
    elements *= n;
  }
  std::vector<int64_t> full = {-1};
  full.insert(full.end(), shape.begin(), shape.end());
  const auto some = [&](const Tensor& x) {
    if (x.numel() == 0) {
      throw RequestError(path.string() + ": is empty; expected a sample or more of " + std::to_string(elements) +
                         " number(s)");
    }
    return x.reshape(full);
  };
  if (path.extension() != ".safetensors") {
    return some(read_csv(path, elements));
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
  return some(x);
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
