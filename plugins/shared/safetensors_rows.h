/// Rows of the tensors in a safetensors file, read from the disk when they are asked for.
///
/// They are read and not mapped: a file that shrinks while it is in use is then an error, and no bus error.
#pragma once

#include <fcntl.h>
#include <retort/error.h>
#include <retort/tensor.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace retort {

/// A tensor in a file, whose bytes are [begin, end) of it.
struct StoredTensor {
  at::ScalarType type;
  std::vector<int64_t> shape;
  uint64_t begin, end;

  int64_t size() const { return shape.empty() ? 0 : shape[0]; }
  std::vector<int64_t> row_shape() const { return shape.empty() ? shape : std::vector(shape.begin() + 1, shape.end()); }
};

namespace stored {

using Json = nlohmann::json;

inline std::runtime_error wrong(const std::string& name, const std::string& what) {
  return std::runtime_error("tensor '" + name.substr(0, 80) + "' " + what);
}

/// A whole number that is not negative; JSON has others.
inline uint64_t count_of(const Json& json, const std::string& name, const char* what) {
  if (!json.is_number_unsigned()) {
    throw wrong(name, std::string("has ") + what + " that is no count");
  }
  return json.get<uint64_t>();
}

inline StoredTensor parse_entry(const std::string& name, const Json& json, uint64_t data_size) {
  static const std::map<std::string, at::ScalarType> types = {
      {"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
      {"I64", at::kLong},   {"I32", at::kInt},   {"U8", at::kByte},  {"BOOL", at::kBool}};
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets")) {
    throw wrong(name, "is not described by dtype, shape and data_offsets alone");
  }
  const Json &dtype = json["dtype"], &shape = json["shape"], &offsets = json["data_offsets"];
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2) {
    throw wrong(name, "has a dtype, shape or data_offsets of another type than the format's");
  }
  const auto type = types.find(dtype.get<std::string>());
  if (type == types.end()) {
    throw wrong(name, "cannot be read: the data type " + dtype.get<std::string>().substr(0, 40) + " is not supported");
  }
  StoredTensor out{type->second, {}, count_of(offsets[0], name, "an offset"), count_of(offsets[1], name, "an offset")};
  constexpr uint64_t most = uint64_t{1} << 62;
  constexpr size_t most_dimensions = 64;
  uint64_t bytes = c10::elementSize(out.type), least = bytes;  // least: as if sizes of 0 were 1, as LibTorch has it
  for (const Json& size : shape) {
    const uint64_t n = count_of(size, name, "a size");
    if (n > most / least) {
      throw wrong(name, "has a shape that does not fit the file");
    }
    bytes *= n;
    least *= std::max<uint64_t>(n, 1);
    out.shape.push_back(static_cast<int64_t>(n));
  }
  if (out.shape.size() > most_dimensions) {
    throw wrong(name, "has more than 64 dimensions");
  }
  if (out.begin > out.end || out.end > data_size || out.end - out.begin != bytes) {
    throw wrong(name, "has offsets that do not fit its shape, or reach beyond the file");
  }
  return out;
}

/// The header as JSON, in which no name stands twice.
inline Json parse_header(const std::string& text) {
  std::vector<std::set<std::string>> open;
  const auto unique = [&open](int depth, Json::parse_event_t event, Json& parsed) {
    constexpr int deepest = 8;
    if (depth > deepest) {
      throw std::runtime_error("its header is nested too deeply");
    }
    if (event == Json::parse_event_t::object_start) {
      open.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      open.pop_back();
    } else if (event == Json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second) {
      throw std::runtime_error("its header names '" + parsed.get<std::string>().substr(0, 80) + "' twice");
    }
    return true;
  };
  if (text.empty() || text[0] != '{') {
    throw std::runtime_error("its header does not begin with {");
  }
  return Json::parse(text, unique);
}

/// Every byte behind the header belongs to one tensor.
inline void check_coverage(const std::map<std::string, StoredTensor>& tensors, uint64_t data_size) {
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, std::string>> places;
  for (const auto& [name, tensor] : tensors) {
    places.push_back({{tensor.begin, tensor.end}, name});
  }
  std::sort(places.begin(), places.end());
  uint64_t at = 0;
  for (const auto& [place, name] : places) {
    if (place.first != at) {
      throw wrong(name, place.first < at ? "shares bytes with another" : "leaves a gap before it");
    }
    at = place.second;
  }
  if (at != data_size) {
    throw std::runtime_error("it has " + std::to_string(data_size - at) + " bytes that belong to no tensor");
  }
}

/// An open file, which is closed in the end.
class OpenFile {
 public:
  explicit OpenFile(const std::string& path) : path_(path), file_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (file_ < 0 || fstat(file_, &status_) != 0) {
      throw RequestError(path_ + ": cannot be read: " + std::strerror(errno));
    }
  }
  ~OpenFile() {
    if (file_ >= 0) {
      close(file_);
    }
  }
  OpenFile(OpenFile&& other) noexcept
      : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)), status_(other.status_) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  const struct stat& status() const { return status_; }

  /// False where the file ends before.
  bool read(void* to, uint64_t count, uint64_t from) const {
    for (uint64_t done = 0; done < count;) {
      const ssize_t got = pread(file_, static_cast<char*>(to) + done, count - done, static_cast<off_t>(from + done));
      if (got == 0) {
        return false;
      }
      if (got < 0 && errno != EINTR) {
        throw RequestError(path_ + ": cannot be read: " + std::strerror(errno));
      }
      done += static_cast<uint64_t>(std::max<ssize_t>(got, 0));
    }
    return true;
  }

 private:
  std::string path_;
  int file_;
  struct stat status_ = {};
};

}  // namespace stored

/// Throws RequestError of one line on a missing, truncated or foreign file, and on all that the format forbids: a name
/// twice, tensors that share bytes, bytes that belong to none, sizes that do not multiply out. Only the header is read.
class SafetensorsRows {
 public:
  explicit SafetensorsRows(std::string path) : path_(std::move(path)) {
    struct stat status = {};
    if (stat(path_.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
      throw error("no such file; expected a safetensors file");
    }
    const stored::OpenFile file(path_);
    status_ = file.status();
    const auto size = static_cast<uint64_t>(status_.st_size);
    const std::string text = read_header(file, size);
    const uint64_t begin = prefix + text.size();
    try {
      const stored::Json header = stored::parse_header(text);
      for (const auto& [name, json] : header.items()) {
        if (name == "__metadata__") {
          metadata_ = json.get<std::map<std::string, std::string>>();
        } else {
          tensors_.emplace(name, stored::parse_entry(name, json, size - begin));
        }
      }
      stored::check_coverage(tensors_, size - begin);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& e) {
      throw damaged(e.what());
    }
    for (auto& [name, tensor] : tensors_) {
      tensor.begin += begin;
      tensor.end += begin;
    }
  }

  const std::string& path() const { return path_; }
  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Null where there is none.
  const StoredTensor* find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }
  RequestError error(const std::string& what) const { return RequestError(path_ + ": " + what); }

  /// Rows of the tensor, as they are stored; rows that follow one another are read at once.
  Tensor rows(const std::string& name, const std::vector<int64_t>& which) const {
    const StoredTensor& tensor = tensors_.at(name);
    if (std::any_of(which.begin(), which.end(), [&](int64_t i) { return i < 0 || i >= tensor.size(); })) {
      throw Error(path_ + ": is asked for a row that tensor '" + name + "' does not have");
    }
    std::vector<int64_t> shape = tensor.row_shape();
    shape.insert(shape.begin(), static_cast<int64_t>(which.size()));
    Tensor out = at::empty(shape, at::TensorOptions().dtype(tensor.type));
    if (out.numel() == 0) {
      return out;
    }
    const uint64_t row_bytes = (tensor.end - tensor.begin) / static_cast<uint64_t>(tensor.size());
    auto* to = static_cast<char*>(out.mutable_data_ptr());
    const stored::OpenFile file = reopen();
    for (size_t i = 0; i < which.size();) {
      size_t end = i + 1;
      while (end < which.size() && which[end] == which[end - 1] + 1) {
        ++end;
      }
      read(file, name, to + i * row_bytes, (end - i) * row_bytes,
           tensor.begin + static_cast<uint64_t>(which[i]) * row_bytes);
      i = end;
    }
    check_booleans(name, out);
    return out;
  }

  /// The whole tensor.
  Tensor all(const std::string& name) const {
    const StoredTensor& tensor = tensors_.at(name);
    Tensor out = at::empty(tensor.shape, at::TensorOptions().dtype(tensor.type));
    read(reopen(), name, out.mutable_data_ptr(), tensor.end - tensor.begin, tensor.begin);
    check_booleans(name, out);
    return out;
  }

 private:
  static constexpr uint64_t prefix = 8, most_header = 100'000'000;  // bytes; the second is the format's own limit

  RequestError damaged(const std::string& what) const {
    return error("is a damaged safetensors file: " + what.substr(0, what.find('\n')));
  }

  std::string read_header(const stored::OpenFile& file, uint64_t size) const {
    unsigned char length[prefix];
    if (size < prefix || !file.read(length, prefix, 0)) {
      throw error("is too short for a safetensors file");
    }
    if (std::memcmp(length, "version ", prefix) == 0) {  // never a header's length
      throw error("is a pointer of Git LFS in place of the file itself; expected a safetensors file");
    }
    uint64_t count = 0;
    for (size_t i = prefix; i-- > 0;) {
      count = count << 8 | length[i];
    }
    if (count > size - prefix) {
      throw error("is no safetensors file, or truncated (its header is longer than the file)");
    }
    if (count > most_header) {
      throw error("is no safetensors file (its header is longer than the format's 100 MB)");
    }
    std::string text(count, '\0');
    if (!file.read(text.data(), count, prefix)) {
      throw error("is no safetensors file, or truncated (its header is longer than the file)");
    }
    return text;
  }

  // The file again, which must be the one whose header was read.
  stored::OpenFile reopen() const {
    stored::OpenFile file(path_);
    const struct stat& now = file.status();
    if (now.st_size < status_.st_size) {
      throw error("has shrunk from " + std::to_string(status_.st_size) + " to " + std::to_string(now.st_size) +
                  " bytes while it is in use");
    }
    if (now.st_size != status_.st_size || now.st_mtim.tv_sec != status_.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != status_.st_mtim.tv_nsec) {
      throw error("has changed while it is in use");
    }
    return file;
  }

  void read(const stored::OpenFile& file, const std::string& name, void* to, uint64_t count, uint64_t from) const {
    if (!file.read(to, count, from)) {
      throw error("has shrunk while it is in use: tensor '" + name + "' is cut off");
    }
  }

  void check_booleans(const std::string& name, const Tensor& read) const {
    if (read.scalar_type() != at::kBool) {
      return;
    }
    const auto* bytes = static_cast<const unsigned char*>(read.const_data_ptr());
    if (std::any_of(bytes, bytes + read.numel(), [](unsigned char b) { return b > 1; })) {
      throw damaged("tensor '" + name + "' is of booleans and holds others than 0 and 1");
    }
  }

  std::string path_;
  struct stat status_ = {};
  std::map<std::string, StoredTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace retort
