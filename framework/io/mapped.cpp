#include "io/mapped.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "io/tensor_header.h"
#include "retort/error.h"

namespace retort {

namespace {

// A file's bytes, from its beginning to its end as it was when it was opened.
struct MappedBytes {
  uint8_t* data = nullptr;
  uint64_t size = 0;

  explicit MappedBytes(const std::filesystem::path& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file < 0 || ::fstat(file, &status) != 0) {
      const std::string why = std::strerror(errno);
      ::close(file);
      throw RequestError(path.string() + ": cannot be read: " + why);
    }
    size = static_cast<uint64_t>(status.st_size);
    // Private: an optimizer that begins at these weights writes to pages of its own.
    void* at = size > 0 ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file, 0) : nullptr;
    const std::string why = std::strerror(errno);
    ::close(file);
    if (at == MAP_FAILED) {
      throw RequestError(path.string() + ": cannot be mapped into memory: " + why);
    }
    data = static_cast<uint8_t*>(at);
  }
  ~MappedBytes() {
    if (data != nullptr) {
      ::munmap(data, size);
    }
  }
  MappedBytes(const MappedBytes&) = delete;
  MappedBytes& operator=(const MappedBytes&) = delete;
};

using SharedBytes = std::shared_ptr<MappedBytes>;

void let_go(void* context) { delete static_cast<SharedBytes*>(context); }

// The bytes of one tensor, which keep all of the file's.
Tensor tensor_within(const SharedBytes& bytes, uint64_t begin, const TensorEntry& entry) {
  const at::ScalarType dtype = dtype_of(entry.type);
  uint8_t* at = bytes->data + begin + entry.begin;
  const uint64_t count = entry.end - entry.begin;
  const auto options = at::TensorOptions().dtype(dtype);
  if (count == 0) {
    return at::empty(entry.shape, options);
  }
  if (reinterpret_cast<uintptr_t>(at) % c10::elementSize(dtype) != 0) {
    Tensor own = at::empty(entry.shape, options);
    std::memcpy(own.data_ptr(), at, count);
    return own;
  }
  c10::Storage storage(c10::Storage::use_byte_size_t(), count,
                       c10::DataPtr(at, new SharedBytes(bytes), &let_go, c10::Device(c10::kCPU)));
  return at::empty({0}, options).set_(storage, 0, entry.shape);
}

}  // namespace

bool is_mapped(const Tensor& tensor) {
  return tensor.defined() && tensor.has_storage() && tensor.storage().data_ptr().get_deleter() == &let_go;
}

TensorFile map_safetensors(const std::filesystem::path& path) {
  auto [header, begin] = safetensors_header(path);
  const auto bytes = std::make_shared<MappedBytes>(path);
  if (bytes->size < begin || std::any_of(header.entries.begin(), header.entries.end(),
                                         [&](const TensorEntry& e) { return e.end > bytes->size - begin; })) {
    throw RequestError(path.string() + ": became shorter while it was opened");
  }
  TensorFile out;
  out.metadata = std::move(header.metadata);
  for (const TensorEntry& entry : header.entries) {
    const Tensor made = tensor_within(bytes, begin, entry);
    if (made.scalar_type() == at::kBool) {
      const auto* at = static_cast<const uint8_t*>(made.data_ptr());
      if (std::any_of(at, at + made.numel(), [](uint8_t b) { return b > 1; })) {
        throw RequestError(path.string() + ": is a damaged safetensors file: tensor '" + entry.name +
                           "' is of booleans and holds others than 0 and 1");
      }
    }
    out.tensors.emplace(entry.name, made);
  }
  return out;
}

}  // namespace retort
