// A request made into cells and a folder.
#include "config/keys.h"
#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/json_file.h"
#include "io/names.h"
#include "log.h"
#include "plugin/registry.h"
#include "run/run.h"
#include "sweep/overrides.h"
#include "sweep/told.h"
#include "sweep/tuning.h"
#include "train/group.h"

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
std::string word_at(const Value& config, const char* path) {
  const Value* value = at_path(config, path);
  const std::string* found = value != nullptr ? std::get_if<std::string>(&value->data) : nullptr;
  return found != nullptr ? *found : "";
}
}  // namespace

fs::path output_folder(const Value& config, const RunRequest& request) {
  const std::string output = word_at(config, "run.output");
  if (!output.empty()) {
    return output;
  }
  std::string name = word_at(config, "run.name");
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
  const std::string given = word_at(config, "run.cache");
  if (!given.empty()) {
    return given;
  }
  return word_at(config, "run.output").empty() ? fs::path("runs/cache") : output_folder(config, request) / "cache";
}

namespace {
fs::path tuning_folder(const fs::path& output) { return output / "tuning"; }
}  // namespace

std::optional<Work> exploring_work(const RunRequest& request) {
  const Value config = load_config(request);
  if (!tuning_of(config)) {
    return std::nullopt;
  }
  Work out{exploring(config), {}, tuning_folder(output_folder(config, request)), shared_folder(config, request)};
  out.cells = expand(out.config);
  expand(confirming(config));  // so that what is wrong in it is told before the work
  return out;
}

namespace {
fs::path choices_path(const fs::path& tuning) { return tuning / "chosen.json"; }
}  // namespace

Json known_choices(const fs::path& tuning, const std::string& prints) {
  const Json kept = read_json(choices_path(tuning));
  const bool same = prints.empty() || text_at(kept, "fingerprint") == prints;
  return same ? json_at(kept, "chosen") : Json();
}

void keep_choices(const fs::path& tuning, const std::string& prints, const Json& choices) {
  write_text(choices_path(tuning), spell({{"fingerprint", prints}, {"chosen", choices}}, 1) + "\n");
}

Work work_of(const RunRequest& request) {
  Work out{load_config(request), {}, {}, {}};
  out.output = output_folder(out.config, request);
  out.shared = shared_folder(out.config, request);
  if (!tuning_of(out.config)) {
    out.cells = expand(out.config, request.fresh ? std::vector<Assignments>{} : told_in(out.output));
    return out;
  }
  out.cells = expand(confirming(out.config));
  // The first process of a group has chosen; the others may have disks of their own.
  const Json choices = Json::parse(Group::world().from_first(spell(known_choices(tuning_folder(out.output)))));
  if (choices.is_object()) {
    for (const std::string& name : give(choices, out.cells)) {
      log::warn(name + " is left out: no choice of [sweep.tune] gave a number on every seed that explored");
    }
    if (out.cells.empty()) {
      throw RequestError("sweep.tune: no choice gave a number on every seed that explored, for any cell");
    }
  }
  return out;
}

fs::path cell_folder(const fs::path& output, const Cell& cell) {
  return cell.name.empty() ? output : output / "cells" / cell.name;
}

}  // namespace retort
