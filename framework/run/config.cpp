// A request made into cells and a folder.
#include "config/keys.h"
#include "config/layers.h"
#include "config/toml.h"
#include "io/names.h"
#include "plugin/registry.h"
#include "run/run.h"
#include "sweep/overrides.h"
#include "sweep/tuning.h"

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
  Value root = read_config(path);
  apply_overrides(root, request.overrides);
  return root;
}

namespace {
std::string text_at(const Value& config, const char* path) {
  const Value* value = at_path(config, path);
  const std::string* found = value != nullptr ? std::get_if<std::string>(&value->data) : nullptr;
  return found != nullptr ? *found : "";
}
}  // namespace

fs::path output_folder(const Value& config, const RunRequest& request) {
  const std::string output = text_at(config, "run.output");
  if (!output.empty()) {
    return output;
  }
  std::string name = text_at(config, "run.name");
  if (name.empty()) {
    name = fs::path(request.config).stem().string();
  }
  // Other settings, another folder: overrides never mix with the results of the plain configuration.
  for (const std::string& assignment : request.overrides) {
    if (const std::string key = read_override(assignment).key; key != "run.name") {
      name += "," + key + assignment.substr(find_outside_quotes(assignment, '='));
    }
  }
  constexpr size_t longest = 200;  // a file name's limit is 255 bytes
  return fs::path("runs") / file_name(name, longest);
}

fs::path shared_folder(const Value& config, const RunRequest& request) {
  const std::string given = text_at(config, "run.cache");
  if (!given.empty()) {
    return given;
  }
  return text_at(config, "run.output").empty() ? fs::path("runs/cache") : output_folder(config, request) / "cache";
}

std::optional<Work> exploring_work(const RunRequest& request) {
  const Value config = load_config(request);
  if (!tuning_of(config)) {
    return std::nullopt;
  }
  Work out{exploring(config), {}, output_folder(config, request) / "tuning", shared_folder(config, request)};
  out.cells = expand(out.config);
  return out;
}

Work work_of(const RunRequest& request) {
  Work out{load_config(request), {}, {}, {}};
  out.output = output_folder(out.config, request);
  out.shared = shared_folder(out.config, request);
  const std::optional<Work> explored = exploring_work(request);
  if (!explored) {
    out.cells = expand(out.config);
    return out;
  }
  out.cells = expand(confirming(out.config));
  std::vector<fs::path> folders;
  for (const Cell& cell : explored->cells) {
    folders.push_back(cell_folder(explored->output, cell));
  }
  const Choices choices = choose(*tuning_of(out.config), explored->cells, folders);
  give(choices, out.cells);
  return out;
}

fs::path cell_folder(const fs::path& output, const Cell& cell) {
  return cell.name.empty() ? output : output / "cells" / cell.name;
}

}  // namespace retort
