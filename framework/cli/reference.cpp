#include "cli/reference.h"

namespace retort {

namespace {

// Text within a cell of a table.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '|' ? "\\|" : c == '\n' ? " " : std::string(1, c);
  }
  return out;
}

std::string range(const ParamInfo& p) {
  std::string out = p.range;
  for (const std::string& choice : p.choices) {
    out += (out.empty() ? "`" : ", `") + choice + "`";
  }
  return out;
}

std::string title(const std::string& kind) {
  if (kind == "table") {
    return "Tables of the host";
  }
  if (kind == "loss") {
    return "Losses";
  }
  std::string out = kind == "dataset" ? "data sets" : kind + "s";
  out[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(out[0])));
  return out;
}

}  // namespace

std::string reference_page(const std::string& kind, const std::vector<PluginDescription>& descriptions) {
  std::string out =
      "# " + title(kind) +
      "\n\nWritten by `retort inspect --all --markdown` from the declarations in the code; a test compares "
      "the two.\n";
  for (const PluginDescription& d : descriptions) {
    out += "\n## " + d.file.name + "\n\n" + d.about;
    if (!d.about.ends_with('\n')) {
      out += "\n";
    }
    if (d.params.empty()) {
      out += "\nIt takes no parameters.\n";
      continue;
    }
    out += "\n| key | type | default | range | |\n| --- | --- | --- | --- | --- |\n";
    for (const ParamInfo& p : d.params) {
      out += "| `" + p.name + "` | " + p.type + " | " +
             (p.required ? "required, such as `" + cell(p.default_value) + "`" : "`" + cell(p.default_value) + "`") +
             " | " + cell(range(p)) + " | " + cell(p.doc) + " |\n";
    }
  }
  return out;
}

}  // namespace retort
