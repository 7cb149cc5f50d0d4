// A request made into cells and a folder.
#include <algorithm>

#include "config/toml.h"
#include "plugin/registry.h"
#include "run/run.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// A configuration that is not here may be one of those that come with the program: configs/mixture.toml.
std::string find_config(const std::string& path) {
  if (fs::exists(path) || fs::path(path).is_absolute()) {
    return path;
  }
  const fs::path own = program_tree() / "share/retort" / path;
  return fs::exists(own) ? own.string() : path;
}

}  // namespace

Value load_config(const RunRequest& request) {
  const std::string path = find_config(request.config);
  Value root = read_toml(path);
  root.origin.file = path;
  root.origin.line = 1;
  for (const std::string& assignment : request.overrides) {
    apply_override(root, assignment);
    if (Value* sweep = root.find("sweep"); sweep != nullptr && sweep->is_table()) {
      sweep->erase(assignment.substr(0, assignment.find('=')));
    }
  }
  return root;
}

namespace {

std::string plain(const Value& value) {
  std::string text = std::holds_alternative<std::string>(value.data) ? std::get<std::string>(value.data) : value.text();
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '/' || c == ' ' || c == '"'; }, '-');
  return text.substr(0, 60);
}

}  // namespace

std::vector<Cell> expand(const Value& config) {
  std::vector<Cell> cells(1);
  cells[0].config = config;
  const Value* sweep = config.find("sweep");
  if (sweep == nullptr) {
    return cells;
  }
  if (!sweep->is_table()) {
    throw RequestError(to_string(sweep->origin) + ": sweep is " + sweep->type_name() + "; expected a table of lists");
  }
  for (Cell& cell : cells) {
    cell.config.erase("sweep");
  }
  for (const auto& [key, list] : sweep->table()) {
    const Array* values = std::get_if<Array>(&list.data);
    if (values == nullptr || values->empty()) {
      throw RequestError(to_string(list.origin) + ": sweep.\"" + key + "\" is " +
                         (values == nullptr ? list.type_name() : "an empty list") +
                         "; expected a list of values, and a quoted dotted key such as \"loss.type\"");
    }
    std::vector<Cell> next;
    for (const Cell& cell : cells) {
      for (const Value& value : *values) {
        Cell more = cell;
        more.name += (more.name.empty() ? "" : "_") + plain(value);
        more.values[key] = value;
        set_path(more.config, key, value);
        next.push_back(std::move(more));
      }
    }
    cells = std::move(next);
  }
  return cells;
}

fs::path output_folder(const Value& config, const RunRequest& request) {
  const auto text = [&](const char* path) -> std::string {
    const Value* value = at_path(config, path);
    const std::string* found = value != nullptr ? std::get_if<std::string>(&value->data) : nullptr;
    return found != nullptr ? *found : "";
  };
  const std::string output = text("run.output");
  if (!output.empty()) {
    return output;
  }
  std::string name = text("run.name");
  if (name.empty()) {
    name = fs::path(request.config).stem().string();
  }
  // Other settings, another folder: overrides never mix with the results of the plain configuration.
  for (const std::string& assignment : request.overrides) {
    std::string part = assignment.starts_with("run.name=") ? "" : "," + assignment;
    std::replace_if(
        part.begin(), part.end(), [](char c) { return c == '/' || c == ' ' || c == '"'; }, '-');
    name += part;
  }
  constexpr size_t longest = 200;  // a file name's limit is 255 bytes
  return fs::path("runs") / name.substr(0, longest);
}

fs::path cell_folder(const fs::path& output, const Cell& cell) {
  return cell.name.empty() ? output : output / "cells" / cell.name;
}

}  // namespace retort
