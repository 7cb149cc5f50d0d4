#include "serve/runs.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/json_file.h"
#include "retort/error.h"
#include "run/cell_run.h"
#include "run/run.h"
#include "share/claim.h"
#include "sweep/gather.h"
#include "sweep/told.h"
#include "sweep/tuning.h"
#include "track/json_lines.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr const char* results_name = "results.json";
constexpr const char* config_name = "config.toml";
constexpr const char* failed_name = "failed.json";
constexpr const char* cells_name = "cells";

bool is_there(const fs::path& path) {
  std::error_code missing;
  return fs::exists(path, missing);
}

bool is_sweep(const fs::path& run) { return is_there(run / cells_name); }

bool is_run(const fs::path& folder) {
  return is_there(folder / config_name) || is_there(folder / results_name) || is_there(folder / JsonLines::file_name);
}

int64_t nanoseconds(std::chrono::system_clock::duration since_epoch) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since_epoch).count();
}

// In nanoseconds since 1970; 0 where the file is not there.
int64_t changed(const fs::path& path) {
  std::error_code missing;
  const auto time = fs::last_write_time(path, missing);
  return missing ? 0 : nanoseconds(std::chrono::file_clock::to_sys(time).time_since_epoch());
}

std::vector<fs::path> entries(const fs::path& folder) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    out.push_back(it->path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// What measuring and training write.
const std::vector<std::string>& files_of_results() {
  static const std::vector<std::string> names = {results_name, CellRun::measured_name, failed_name,
                                                 JsonLines::file_name, config_name};
  return names;
}

// The sum tells of files that come or go, the latest time of those that change.
void add_version(const fs::path& folder, int64_t& latest, int64_t& count) {
  for (const std::string& name : files_of_results()) {
    if (const int64_t time = changed(folder / name); time != 0) {
      latest = std::max(latest, time);
      count += 1;
    }
  }
}

std::vector<fs::path> cell_folders(const fs::path& run) {
  std::vector<fs::path> out = entries(run / cells_name);
  std::erase_if(out, [](const fs::path& path) {
    std::error_code error;
    return !fs::is_directory(path, error);
  });
  return out;
}

// A claim that its holder has touched of late: he does so every few seconds, and a dead one does not.
bool is_claimed(const fs::path& folder, const std::string& begin) {
  const int64_t now = nanoseconds(std::chrono::system_clock::now().time_since_epoch());
  constexpr int64_t patience = static_cast<int64_t>(Claim::default_patience) * 1000000000;
  const std::vector<fs::path> all = entries(folder);
  return std::any_of(all.begin(), all.end(), [&](const fs::path& path) {
    const std::string name = path.filename().string();
    return name.starts_with(begin) && name.find(".claim.") != std::string::npos && now - changed(path) < patience;
  });
}

bool is_at_work(const fs::path& run) {
  return is_sweep(run) ? is_claimed(run / cells_name, "")
                       : is_claimed(run.parent_path(), run.filename().string() + ".work.");
}

Value config_of(const fs::path& run) {
  try {
    return is_there(run / config_name) ? read_config((run / config_name).string()) : Value{};
  } catch (const std::exception&) {  // half-written by hand, or of another version
    return {};
  }
}

void flatten(const Json& table, const std::string& prefix, Json& out) {
  for (const auto& [key, value] : table.items()) {
    if (value.is_object() && !value.empty()) {
      flatten(value, prefix + key + ".", out);
    } else {
      out[prefix + key] = value;
    }
  }
}

Json last_line(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return nullptr;
  }
  constexpr std::streamoff most = 65536;
  in.seekg(0, std::ios::end);
  const std::streamoff size = in.tellg(), from = std::max<std::streamoff>(0, size - most);
  std::string text(static_cast<size_t>(size - from), '\0');
  in.seekg(from);
  in.read(text.data(), size - from);
  for (size_t end = text.size(); end > 0;) {  // the last may be half-written
    const size_t begin = text.rfind('\n', end - 1);
    const size_t first = begin == std::string::npos ? 0 : begin + 1;
    if (const Json line = Json::parse(text.substr(first, end - first), nullptr, false); line.is_object()) {
      return line;
    }
    end = begin == std::string::npos ? 0 : begin;
  }
  return nullptr;
}

// Of a sweep: its cells as its folder's configuration makes them.
std::optional<Json> gathered_now(const fs::path& run, bool statistics) {
  try {
    const Value config = read_config((run / config_name).string());
    const bool tuned = tuning_of(config).has_value();
    std::vector<Cell> cells = tuned ? expand(confirming(config)) : expand(config, told_in(run));
    if (const Json choices = tuned ? known_choices(run / "tuning") : Json(); choices.is_object()) {
      give(choices, cells);
    }
    std::vector<fs::path> folders;
    for (const Cell& cell : cells) {
      folders.push_back(cell.name.empty() ? run : run / cells_name / cell.name);
    }
    const Value *sweep = config.find("sweep"), *report = config.find("report"), *name = at_path(config, "run.name");
    const Json presented = {{"name", name != nullptr ? to_json(*name) : Json(run.filename().string())},
                            {"report", report != nullptr ? to_json(*report) : Json::object()}};
    Json out = gathered(cells, folders, presented, sweep != nullptr ? to_json(*sweep) : Json::object(), statistics);
    return out.is_null() ? std::nullopt : std::optional(std::move(out));
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::string state_of(const fs::path& run, const Json& cells, bool whole) {
  if (is_at_work(run)) {
    return "running";
  }
  if (is_there(run / failed_name) || cells.value("failed", 0) > 0) {
    return "failed";
  }
  return whole ? "done" : "open";
}

}  // namespace

Runs::Runs(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    throw RequestError(folder.string() + ": is no folder; expected one that holds runs");
  }
  folder_ = fs::canonical(folder);
}

void Runs::look(const fs::path& place, int depth, std::vector<fs::path>& found) const {
  constexpr int deepest = 6;
  static const std::set<std::string> not_runs = {"cache", cells_name, "samples", "checkpoints"};
  const bool own = is_run(place);
  if (own) {
    found.push_back(place);
  }
  if (depth == deepest) {
    return;
  }
  for (const fs::path& path : entries(place)) {
    std::error_code error;
    const std::string name = path.filename().string();
    // Within a run only the one that explores for it.
    if ((own && name != "tuning") || name.starts_with(".") || not_runs.contains(name) || fs::is_symlink(path, error) ||
        !fs::is_directory(path, error)) {
      continue;
    }
    look(path, depth + 1, found);
  }
}

std::string Runs::version(const fs::path& run) {
  int64_t latest = 0, count = 0;
  add_version(run, latest, count);
  for (const fs::path& cell : cell_folders(run)) {
    add_version(cell, latest, count);
  }
  return std::to_string(latest) + "-" + std::to_string(count);
}

std::optional<Results> Runs::results(const fs::path& run, bool statistics) {
  if (is_sweep(run)) {
    int64_t latest = 0, count = 0;
    for (const fs::path& cell : cell_folders(run)) {
      latest = std::max({latest, changed(cell / results_name), changed(cell / failed_name)});
      count += 1;
    }
    if (count > 0 && changed(run / results_name) < latest) {
      if (std::optional<Json> now = gathered_now(run, statistics)) {
        return results_of(std::move(*now));
      }
    }
  }
  Json whole = read_json(run / results_name);
  if (!whole.is_object()) {
    whole = json_at(read_json(run / CellRun::measured_name), "results");
    if (whole.is_object()) {  // under way: the last point stands for the end
      const Json& progress = json_at(whole, "progress");
      const Json last = progress.empty() ? Json() : json_at(progress.back(), "train_steps");
      whole["students"] = Json::array();
      for (const Json& row : progress) {
        if (json_at(row, "train_steps") == last) {
          whole["students"].push_back(row);
        }
      }
      whole["config"] = to_json(config_of(run));
    }
  }
  return whole.is_object() ? std::optional(results_of(std::move(whole))) : std::nullopt;
}

Json Runs::entry(const fs::path& run) const {
  const Value config = config_of(run);
  const std::optional<Results> measured = results(run, /*statistics=*/false);
  Json out = {{"path", run == folder_ ? "." : fs::relative(run, folder_).generic_string()},
              {"kind", is_sweep(run) ? "sweep" : "run"},
              {"settings", Json::object()},
              {"rows", Json::array()},
              {"cells", Json::object()}};
  const Value* name = at_path(config, "run.name");
  out["name"] = name != nullptr && std::holds_alternative<std::string>(name->data) ? to_json(*name)
                                                                                   : Json(run.filename().string());
  flatten(to_json(config), "", out["settings"]);
  if (measured) {
    out["rows"] = to_json(measured->students);
    for (const Json& cell : measured->json["cells"]) {
      Json& count = out["cells"][text_at(cell, "status")];
      count = count.is_null() ? 1 : count.get<int64_t>() + 1;
      if (text_at(cell, "status") == "failed" && !out.contains("error")) {
        out["error"] = text_at(cell, "name") + ": " + text_at(cell, "error");
      }
    }
  }
  if (const Json failed = read_json(run / failed_name); failed.is_object()) {
    out["error"] = text_at(failed, "error");
  }
  if (const Json line = last_line(run / JsonLines::file_name); line.is_object()) {
    out["step"] = json_at(line, "step");
  }
  if (const Value* steps = at_path(config, "train.steps")) {
    out["steps"] = to_json(*steps);
  }
  int64_t unfinished = 0;
  for (const char* state : {"open", "running"}) {
    unfinished += out["cells"].value(state, int64_t{0});
  }
  out["state"] = state_of(run, out["cells"], is_there(run / results_name) && unfinished == 0);
  return out;
}

Json Runs::entry_or_fault(const fs::path& run) const {
  try {
    return entry(run);
  } catch (const std::exception& e) {  // a file of somebody else's, or one that went while it was read
    return {{"path", fs::relative(run, folder_).generic_string()},
            {"name", run.filename().string()},
            {"kind", "run"},
            {"state", "failed"},
            {"error", e.what()},
            {"settings", Json::object()},
            {"rows", Json::array()},
            {"cells", Json::object()}};
  }
}

Json Runs::list() {
  const std::lock_guard lock(mutex_);
  std::vector<fs::path> found;
  look(folder_, 0, found);
  Json out = Json::array();
  std::map<std::string, Known> known;
  for (const fs::path& run : found) {
    const std::string now = version(run);
    Known& one = known[run.string()];
    const auto before = known_.find(run.string());
    if (before != known_.end() && before->second.version == now && before->second.entry["state"] != "running") {
      one = std::move(before->second);
      if (is_at_work(run)) {
        one.entry["state"] = "running";
      }
    } else {
      one = {now, entry_or_fault(run)};
    }
    const int64_t ago = nanoseconds(std::chrono::system_clock::now().time_since_epoch()) - std::stoll(now);
    one.entry["seconds_ago"] = static_cast<double>(ago) * 1e-9;
    out.push_back(one.entry);
  }
  known_ = std::move(known);
  std::stable_sort(out.begin(), out.end(), [](const Json& a, const Json& b) {
    return a["seconds_ago"].get<double>() < b["seconds_ago"].get<double>();
  });
  return out;
}

std::optional<fs::path> Runs::file(const std::string& path) const {
  if (path.find('\0') != std::string::npos || fs::path(path).is_absolute()) {
    return std::nullopt;
  }
  std::error_code error;
  const fs::path real = fs::weakly_canonical(folder_ / fs::path(path), error);
  if (error) {
    return std::nullopt;
  }
  const auto [end, rest] = std::mismatch(folder_.begin(), folder_.end(), real.begin(), real.end());
  return end == folder_.end() && fs::exists(real, error) && !error ? std::optional(real) : std::nullopt;
}

std::optional<fs::path> Runs::find(const std::string& path) const {
  const std::optional<fs::path> out = file(path);
  std::error_code error;
  return out && fs::is_directory(*out, error) && is_run(*out) ? out : std::nullopt;
}

}  // namespace retort
