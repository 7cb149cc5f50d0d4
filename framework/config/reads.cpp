#include "config/reads.h"

#include <algorithm>
#include <system_error>

namespace retort {

namespace fs = std::filesystem;

fs::path settled(const fs::path& path) {
  const fs::path whole = fs::absolute(path);
  std::error_code error;
  fs::path out = fs::weakly_canonical(whole, error);
  if (error) {  // a folder that cannot be entered
    out = whole.lexically_normal();
  }
  return out.filename().empty() ? out.parent_path() : out;
}

bool lies_in(const fs::path& path, const fs::path& folder) {
  const fs::path within = settled(path), around = settled(folder);
  return std::mismatch(around.begin(), around.end(), within.begin(), within.end()).first == around.end();
}

std::string key_that_reads(const Value& value, const std::string& key, const fs::path& place) {
  if (const auto* text = std::get_if<std::string>(&value.data)) {
    std::error_code ignored;
    const bool there = !text->empty() && fs::exists(*text, ignored);
    return there && (lies_in(*text, place) || (fs::is_directory(*text, ignored) && lies_in(place, *text))) ? key : "";
  }
  if (const auto* list = std::get_if<Array>(&value.data)) {
    for (const Value& entry : *list) {
      if (const std::string found = key_that_reads(entry, key, place); !found.empty()) {
        return found;
      }
    }
  } else if (value.is_table()) {
    for (const auto& [name, entry] : value.table()) {
      if (const std::string found = name != "type" ? key_that_reads(entry, key + "." + name, place) : "";
          !found.empty()) {
        return found;
      }
    }
  }
  return "";
}

}  // namespace retort
