// The page of every plugin, and of every template, ends with the TOML that selects it. People copy it, so it is held
// against what the plugin declares.
#include <set>
#include <sstream>

#include "config/settings.h"
#include "config/toml.h"
#include "help/catalog.h"
#include "io/files.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    out.push_back(line);
  }
  return out;
}

// What stands indented by four blanks at a page's end, less these blanks; "" where there is nothing.
std::string toml_at_end(const std::string& page) {
  std::vector<std::string> lines = lines_of(page);
  while (!lines.empty() && lines.back().empty()) {
    lines.pop_back();
  }
  size_t from = lines.size();
  while (from > 0 && (lines[from - 1].empty() || lines[from - 1].starts_with("    "))) {
    --from;
  }
  std::string out;
  for (size_t i = from; i < lines.size(); ++i) {
    out += (lines[i].empty() ? "" : lines[i].substr(4)) + "\n";
  }
  return out;
}

// A source's opening `///` comment, as sdk/cmake/ExtractAbout.cmake takes it.
std::string opening_comment(const std::string& source) {
  std::string out;
  for (const std::string& line : lines_of(source)) {
    if (!line.starts_with("///")) {
      break;
    }
    out += line.substr(line.starts_with("/// ") ? 4 : 3) + "\n";
  }
  return out;
}

// The table and the key that select a plugin.
std::pair<std::string, std::string> selector(const std::string& kind) {
  return kind == Metric::kind    ? std::pair("evaluate", "metrics")
         : kind == Tracker::kind ? std::pair("track", "trackers")
                                 : std::pair(kind.c_str(), "type");
}

// The plugin's own table within the TOML of its page; null where there is none.
const Value* own_table(const Value& root, const std::string& kind, const std::string& name) {
  return at_path(root, table_of(kind, name));
}

// Whether the TOML selects that plugin, and nothing else.
void check_selects(const Value& root, const std::string& kind, const std::string& name) {
  const auto [selecting, key] = selector(kind);
  const std::set<std::string> tables = {selecting, kind};
  for (const auto& entry : root.table()) {
    const std::string table = entry.first;
    CAPTURE(table);
    CHECK(tables.contains(table));
  }
  const Value* chosen = at_path(root, selecting + "." + key);
  const Value one{name, {}}, wanted = is_listed(kind) ? Value{Array{one}, {}} : one;
  CHECK((chosen != nullptr && *chosen == wanted));
  if (const Value* listed = is_listed(kind) ? root.find(kind) : nullptr) {
    CHECK(listed->table().size() == 1);
    CHECK(listed->find(name) != nullptr);
  }
}

void check_keys(const Value& table, const std::vector<ParamInfo>& declared) {
  std::set<std::string> known = {"type"};
  for (const ParamInfo& p : declared) {
    known.insert(p.name);
  }
  for (const auto& entry : table.table()) {
    const std::string key = entry.first;
    CAPTURE(key);
    CHECK(known.contains(key));
  }
}

// Whether values are of the right types and within their ranges. What files they name is another matter.
void check_values(const PluginFile& file, const Value& table, const std::vector<ParamInfo>& declared) {
  if (file.kind == Backend::kind) {
    return;  // built, it would change settings of the whole process
  }
  TestHost host("type = \"ve\"", {{2}});
  const std::string path = table_of(file.kind, file.name);
  std::string why;
  try {
    Params p(table, path, &host);
    p.get("type", "", "");
    registry().make(file, p);
    p.finish();
  } catch (const Error& e) {
    why = e.what();
  }
  CAPTURE(why);
  for (const char* fault : {" is out of range; ", " is unknown; ", "unknown key"}) {
    CHECK(why.find(fault) == std::string::npos);
  }
  for (const ParamInfo& p : declared) {  // "solver.order: is a string, …"
    CHECK(why.find(path + "." + p.name + ": is ") == std::string::npos);
  }
}

// The TOML of a page, by way of a file; an empty table, and a failed check, where it cannot be read.
Value read_page(const std::string& page) {
  const std::string toml = toml_at_end(page);
  CHECK(!toml.empty());
  const Folder folder;
  write_text(folder / "page.toml", toml);
  Value root;
  CHECK_NOTHROW(root = read_toml((folder / "page.toml").string()));
  return root;
}

}  // namespace

TEST_CASE("the page of every plugin ends with TOML that selects it, with keys that it declares") {
  CHECK(!registry().files().empty());
  for (const PluginFile& file : registry().files()) {
    CAPTURE(file.kind);
    CAPTURE(file.name);
    const PluginDescription described = registry().describe(file);
    const Value root = read_page(described.about);
    check_selects(root, file.kind, file.name);
    if (const Value* table = own_table(root, file.kind, file.name)) {
      check_keys(*table, described.params);
      check_values(file, *table, described.params);
    }
    if (const Value* table = root.find("evaluate")) {
      Params p = Params::describing();
      const EvaluateSettings settings(p);
      check_keys(*table, p.described());
    }
  }
}

TEST_CASE("so does the page of every template, and it is what the build extracts") {
  for (const std::string kind : plugin_kinds) {
    CAPTURE(kind);
    std::string page = opening_comment(read_text(source_dir() + "/sdk/template/" + kind + "/NAME.cpp"));
    for (size_t at; (at = page.find("@name@")) != std::string::npos;) {
      page.replace(at, 6, "mine");
    }
    check_selects(read_page(page), kind, "mine");
  }
  const std::string heun = read_text(source_dir() + "/plugins/solvers/heun.cpp");
  CHECK(opening_comment(heun) == registry().describe(registry().find("solver", "heun")).about);
}
