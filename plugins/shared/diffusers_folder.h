/// A folder that diffusers saved, with all that is asked of it, as a path that the host reads.
#pragma once

#include <cctype>
#include <string>
#include <string_view>

namespace retort {

/// Letters, digits and what needs no care in a path; other bytes as %XX.
inline std::string with_percent(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    constexpr std::string_view digits = "0123456789ABCDEF", plain = "-_.,+";
    if (std::isalnum(byte) != 0 || plain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      out += {'%', digits[byte / 16], digits[byte % 16]};
    }
  }
  return out;
}

/// FOLDER?key=value&…, which the host reads again wherever it needs the same model.
class FolderSpelling {
 public:
  void add(const char* key, const std::string& value) {
    if (!value.empty()) {
      keys_ += (keys_.empty() ? "?" : "&") + std::string(key) + "=" + with_percent(value);
    }
  }
  std::string of(const std::string& folder) const {
    if (keys_.empty()) {
      return folder;
    }
    std::string out;
    for (const char c : folder) {
      out += c == '%' ? "%25" : c == '?' ? "%3F" : std::string(1, c);
    }
    return out + keys_;
  }

 private:
  std::string keys_;
};

}  // namespace retort
