#include "io/names.h"

#include <algorithm>

#include "io/files.h"

namespace retort {

std::string short_hash(const std::string& text) { return sha256_of_text(text).substr(0, 8); }

std::string file_name(const std::string& text, size_t longest) {
  std::string out = text;
  for (char& c : out) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    c = control || c == '/' || c == ' ' || c == '"' || c == '\'' ? '-' : c;
  }
  if (out.empty() || out.front() == '.') {
    out.insert(0, "-");  // neither hidden, nor this folder or the one above
  }
  if (out == text && out.size() <= longest) {
    return out;
  }
  const std::string tail = "~" + short_hash(text);
  if (out.size() + tail.size() > longest) {
    size_t end = longest - tail.size();
    while (end > 0 && (out[end] & 0xC0) == 0x80) {  // within a character of UTF-8
      --end;
    }
    out.resize(end);
  }
  return out + tail;
}

std::string step_number(int64_t step) {
  constexpr size_t digits = 6;
  std::string out = std::to_string(step);
  out.insert(0, out.size() < digits ? digits - out.size() : 0, '0');
  return out;
}

std::filesystem::path adapter_of(const std::filesystem::path& checkpoint) {
  constexpr const char* ending = ".adapter.safetensors";
  return checkpoint.string().ends_with(ending) ? checkpoint
                                               : std::filesystem::path(checkpoint).replace_extension(ending);
}

}  // namespace retort
