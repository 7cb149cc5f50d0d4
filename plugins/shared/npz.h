/// Arrays in a file of numpy's savez: a zip of .npy files.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <retort/error.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace retort {

namespace npz {

/// What stands between `'key':` and the next comma or bracket of a .npy header, a dictionary as Python writes it.
inline std::string entry(const std::string& header, const std::string& key) {
  const size_t name = header.find("'" + key + "'"), colon = header.find(':', name);
  if (name == std::string::npos || colon == std::string::npos) {
    return "";
  }
  const size_t begin = header.find_first_not_of(' ', colon + 1);
  if (begin == std::string::npos) {
    return "";
  }
  const bool tuple = header[begin] == '(';
  const size_t end = header.find_first_of(tuple ? ")" : ",}", begin);
  return end == std::string::npos ? "" : header.substr(begin, end - begin + (tuple ? 1 : 0));
}

inline std::vector<int64_t> backwards(int64_t dimensions) {
  std::vector<int64_t> out;
  for (int64_t i = dimensions; i-- > 0;) {
    out.push_back(i);
  }
  return out;
}

/// An array of real numbers from the bytes of a .npy file. Throws std::string, what is wrong with it.
inline Tensor array(const std::string& bytes) {
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<unsigned char>(bytes[i])); };
  if (bytes.size() < 12 || !bytes.starts_with("\x93NUMPY")) {
    throw std::string("is no .npy file");
  }
  const bool first_version = byte(6) == 1;
  const size_t begin = first_version ? 10 : 12;
  const size_t length = byte(8) | byte(9) << 8 | (first_version ? 0 : byte(10) << 16 | byte(11) << 24);
  if (length > bytes.size() - begin) {
    throw std::string("is cut off");
  }
  const std::string header = bytes.substr(begin, length);
  const std::string type = entry(header, "descr"), order = entry(header, "fortran_order"),
                    spelled = entry(header, "shape");
  const std::map<std::string, at::ScalarType> types = {
      {"'<f8'", at::kDouble}, {"'<f4'", at::kFloat}, {"'<f2'", at::kHalf}};
  if (!types.contains(type)) {
    throw "is of type " + (type.empty() ? "none" : type.substr(0, 20)) + "; expected '<f8', '<f4' or '<f2'";
  }
  std::vector<int64_t> shape;
  const uint64_t most = bytes.size();  // numbers that there can be
  uint64_t count = 1;
  for (size_t i = 0; i < spelled.size();) {
    if (std::isdigit(static_cast<unsigned char>(spelled[i])) == 0) {
      ++i;
      continue;
    }
    const size_t end = std::min(spelled.find_first_not_of("0123456789", i), spelled.size());
    const uint64_t size = end - i > 12 ? most + 1 : std::stoull(spelled.substr(i, end - i));
    if (size > most || count * std::max<uint64_t>(size, 1) > most) {
      throw std::string("is cut off, or has a shape that does not fit its bytes");
    }
    count *= size;
    shape.push_back(static_cast<int64_t>(size));
    i = end;
  }
  const at::ScalarType of = types.at(type);
  if (spelled.empty() || shape.size() > 8 || count * c10::elementSize(of) != bytes.size() - begin - length) {
    throw std::string("is cut off, or has a shape that does not fit its bytes");
  }
  const bool columns_first = order == "True";
  if (columns_first) {
    std::reverse(shape.begin(), shape.end());
  }
  Tensor out = at::empty(shape, at::TensorOptions().dtype(of));
  std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(begin + length), bytes.end(),
            static_cast<char*>(out.mutable_data_ptr()));
  return columns_first ? out.permute(backwards(out.dim())) : out;
}

using Archive = std::unique_ptr<archive, decltype(&archive_read_free)>;

/// The entry's bytes. Throws std::string, what is wrong with it.
inline std::string bytes_of(archive* from) {
  constexpr size_t most = size_t{1} << 31;  // a covariance of 16 thousand features
  std::string out;
  std::vector<char> part(1 << 16);
  for (;;) {
    const la_ssize_t got = archive_read_data(from, part.data(), part.size());
    if (got < 0) {
      const char* why = archive_error_string(from);
      throw "cannot be read: " + std::string(why != nullptr ? why : "it is damaged");
    }
    if (got == 0) {
      return out;
    }
    out.append(part.data(), static_cast<size_t>(got));
    if (out.size() > most) {
      throw std::string("is larger than 2 GiB");
    }
  }
}

}  // namespace npz

/// The arrays of these names, which the file must have; others are left alone. Throws RequestError of one line.
inline std::map<std::string, Tensor> read_npz(const std::string& path, const std::vector<std::string>& names) {
  const auto error = [&](const std::string& what) { return RequestError(path + ": " + what); };
  if (!std::filesystem::is_regular_file(path)) {
    throw error("no such file; expected what numpy.savez writes");
  }
  const npz::Archive zip(archive_read_new(), &archive_read_free);
  constexpr size_t block = 1 << 16;
  if (archive_read_support_format_zip(zip.get()) != ARCHIVE_OK ||
      archive_read_open_filename(zip.get(), path.c_str(), block) != ARCHIVE_OK) {
    throw error("is no .npz file; expected what numpy.savez writes");
  }
  std::map<std::string, Tensor> out;
  std::string found;
  archive_entry* entry = nullptr;
  int code = ARCHIVE_OK;
  while ((code = archive_read_next_header(zip.get(), &entry)) == ARCHIVE_OK) {
    const char* const file = archive_entry_pathname(entry);
    std::string name = file != nullptr ? file : "";
    name = name.ends_with(".npy") ? name.substr(0, name.size() - 4) : name;
    found += (found.empty() ? "" : ", ") + name.substr(0, 40);
    if (std::find(names.begin(), names.end(), name) != names.end()) {
      try {
        out[name] = npz::array(npz::bytes_of(zip.get()));
      } catch (const std::string& what) {
        throw error("array '" + name + "' " + what);
      }
    }
  }
  if (code != ARCHIVE_EOF) {
    throw error(found.empty() ? "is no .npz file; expected what numpy.savez writes" : "is a damaged .npz file");
  }
  for (const std::string& name : names) {
    if (!out.contains(name)) {
      throw error("has no array '" + name + "'; it has " + (found.empty() ? "none" : found));
    }
  }
  return out;
}

}  // namespace retort
