#include "sweep/gather.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "config/old_keys.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/json_file.h"
#include "retort/error.h"
#include "results/csv.h"
#include "share/claim.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// Why a cell failed, or null. What cannot be read is a failure all the same.
Json read_failure(const fs::path& path) {
  std::error_code missing;
  if (!fs::exists(path, missing)) {
    return nullptr;
  }
  const Json failure = Json::parse(valid_utf8(read_text(path)), nullptr, false);
  const Json& error = json_at(failure, "error");
  return {{"error", error.is_string() ? error.get<std::string>() : "its reason cannot be read"}};
}

}  // namespace

std::string compared_key(const Json& report, const std::vector<Cell>& cells) {
  const std::string chosen = present_key(text_at(report, "compare"), {});
  std::vector<std::string> swept;
  for (const auto& [key, value] : cells[0].values.table()) {
    swept.push_back(key);
  }
  if (!chosen.empty()) {
    if (std::find(swept.begin(), swept.end(), chosen) == swept.end()) {
      throw RequestError("report.compare: '" + chosen + "' is not swept" + did_you_mean(chosen, swept));
    }
    return chosen;
  }
  return !swept.empty() && swept[0] != "run.seed" ? swept[0] : "";
}

void present(const fs::path& folder, const Json& report) {
  Json results = read_json(folder / "results.json");
  if (!results.is_object() || (results["name"] == report["name"] && results["config"]["report"] == report["report"])) {
    return;
  }
  results["name"] = report["name"];
  results["config"]["report"] = report["report"];
  write_text(folder / "results.json", spell(results, 1) + "\n");
}

Json gathered(const std::vector<Cell>& cells, const std::vector<fs::path>& folders, const Json& report,
              const Json& sweep, bool statistics) {
  Json out = Json::object();
  Json all = Json::array(), plugins = Json::array();
  std::vector<Row> students, progress;
  for (size_t i = 0; i < cells.size(); ++i) {
    Json cell = {{"name", cells[i].name}, {"values", to_json(cells[i].values)}};
    if (!cells[i].chosen.table().empty()) {
      cell["chosen"] = to_json(cells[i].chosen);
    }
    const Json results = read_json(folders[i] / "results.json");
    const Json failed = read_failure(folders[i] / "failed.json");
    if (failed.is_object()) {
      cell["status"] = "failed";
      cell["error"] = failed["error"];
    } else if (!results.is_object()) {
      cell["status"] = Claim::holder(folders[i]).empty() ? "open" : "running";
    } else {
      const Json& stopped = json_at(results, "stopped_at");
      cell["status"] = stopped.is_null() ? "done" : "stopped";
      if (!stopped.is_null()) {
        cell["stopped_at"] = stopped;
      }
      if (out.empty()) {
        for (const char* key : {"name", "config", "versions", "teacher"}) {
          out[key] = results[key];
        }
        out["name"] = report["name"];
        out["config"]["report"] = report["report"];
        out["config"]["sweep"] = sweep;
      }
      cell["teacher"] = results["teacher"];
      for (auto [list, name] : {std::pair(&students, "students"), std::pair(&progress, "progress")}) {
        for (Row row : rows_from(results[name])) {
          if (row.samples) {
            row.samples = "cells/" + cells[i].name + "/" + *row.samples;
          }
          list->push_back(std::move(row));
        }
      }
      for (const Json& plugin : results["plugins"]) {
        if (std::find(plugins.begin(), plugins.end(), plugin) == plugins.end()) {
          plugins.push_back(plugin);
        }
      }
      if (!out.contains("libraries")) {
        out["libraries"] = results["libraries"];
      }
    }
    all.push_back(std::move(cell));
  }
  if (out.empty()) {
    return nullptr;
  }
  out["students"] = to_json(students);
  out["progress"] = to_json(progress);
  out["plugins"] = std::move(plugins);
  out["cells"] = std::move(all);
  if (statistics) {
    out["statistics"] = statistics_of(progress, compared_key(out["config"]["report"], cells), out["cells"]);
  }
  return out;
}

void gather(const std::vector<Cell>& cells, const std::vector<fs::path>& folders, const fs::path& output,
            const Json& report, const Json& sweep) {
  const Json out = gathered(cells, folders, report, sweep);
  if (out.is_null()) {
    throw Error("no cell of " + output.string() + " has results");
  }
  write_text(output / "results.json", spell(out, 1) + "\n");
  const Json &evaluate = json_at(json_at(out, "config"), "evaluate"), &list = json_at(out, "cells");
  write_text(output / "results.csv", csv_table(rows_from(json_at(out, "students")), list, evaluate));
  write_text(output / "progress.csv", csv_table(rows_from(json_at(out, "progress")), list, evaluate));
}

std::string summary(const fs::path& folder) {
  const Json results = read_json(folder / "results.json");
  if (!results.is_object() || results["students"].empty()) {
    return "done";
  }
  const Row row = row_from(results["students"].front());
  std::vector<std::string> names;  // those of the report's main plot first
  for (const Json& name : json_at(json_at(results["config"], "report"), "plot")) {
    names.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  add_metrics(row, names);
  std::string out;
  int shown = 0;
  for (const std::string& name : names) {
    if (const double* value = metric_of(row, name); value != nullptr && std::isfinite(*value) && shown++ < 2) {
      char number[40];
      std::snprintf(number, sizeof number, "%.4g", *value);
      out += (out.empty() ? "" : ", ") + name + " " + number;
    }
  }
  return out.empty() ? "done" : out;
}

}  // namespace retort
