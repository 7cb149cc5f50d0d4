#include "help/fill.h"

#include <sstream>

#include "plugin/registry.h"

namespace retort {

std::string filled_lines(const std::string& text, size_t indent) {
  constexpr size_t page_width = 100;
  std::stringstream words(text);
  std::string out, line;
  for (std::string word; words >> word;) {
    if (!line.empty() && indent + line.size() + 1 + word.size() > page_width) {
      out += std::string(indent, ' ') + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line.empty() ? out : out + std::string(indent, ' ') + line + "\n";
}

std::string filled(std::string text, const std::vector<std::pair<std::string, std::string>>& marks) {
  for (const auto& [mark, value] : marks) {
    for (size_t at = 0; (at = text.find(mark, at)) != std::string::npos; at += value.size()) {
      text.replace(at, mark.size(), value);
    }
  }
  return text;
}

std::string choose_plugin(std::string text, const std::string& kind, const std::string& name) {
  for (const std::string known : plugin_kinds) {
    const std::string begin = "@" + known + ":";
    for (size_t at = 0; (at = text.find(begin, at)) != std::string::npos;) {
      const size_t from = at + begin.size(), end = text.find('@', from);
      const bool own = known == kind && !name.empty();
      text.replace(at, end + 1 - at, own ? name : text.substr(from, end - from));
    }
  }
  return text;
}

}  // namespace retort
