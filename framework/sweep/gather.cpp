#include "sweep/gather.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>

#include "config/toml.h"
#include "io/files.h"
#include "retort/error.h"
#include "share/claim.h"
#include "sweep/statistics.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

Json read_json(const fs::path& path) {
  std::error_code missing;
  return fs::exists(path, missing) ? Json::parse(read_text(path), nullptr, false) : Json();
}

std::string csv(const Json& value) {
  if (value.is_null()) {
    return "";
  }
  if (!value.is_string()) {
    return value.is_structured() ? "\"" + value.dump() + "\"" : value.dump();
  }
  const std::string text = value.get<std::string>();
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  std::string out = "\"";
  for (const char c : text) {
    out += c == '"' ? "\"\"" : std::string(1, c);
  }
  return out + "\"";
}

void add_name(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    names.push_back(name);
  }
}

const Json& at(const Json& object, const std::string& key) {
  static const Json nothing;
  const auto found = object.find(key);
  return found != object.end() ? *found : nothing;
}

// A row of each cell and sampler, those of unfinished cells too, so that nothing is missing silently.
std::string table(const Json& results, const char* list) {
  std::vector<std::string> keys, metrics;
  for (const Json& cell : results["cells"]) {
    for (const auto& [key, value] : cell["values"].items()) {
      add_name(keys, key);
    }
  }
  bool guided = false;
  for (const Json& row : results[list]) {
    for (const auto& [name, value] : row["metrics"].items()) {
      add_name(metrics, name);
    }
    guided = guided || row.contains("guidance");
  }
  const Json& evaluate = at(results["config"], "evaluate");
  std::string out = "cell,status";
  for (const std::string& key : keys) {
    out += "," + csv(key);
  }
  out += std::string(",student_steps,train_steps") + (guided ? ",guidance" : "");
  for (const std::string& name : metrics) {
    out += "," + csv(name);
  }
  out += ",teacher_evaluations,remembered_evaluations,train_seconds,samples,reference_samples\n";
  const auto line = [&](const Json& cell, const Json& row) {
    out += csv(cell["name"]) + "," + csv(cell["status"]);
    for (const std::string& key : keys) {
      out += "," + csv(at(cell["values"], key));
    }
    out += "," + csv(at(row, "student_steps")) + "," + csv(at(row, "train_steps"));
    out += guided ? "," + csv(at(row, "guidance")) : "";
    const Json values = row.contains("metrics") ? row["metrics"] : Json::object();
    for (const std::string& name : metrics) {
      out += "," + csv(at(values, name));
    }
    for (const char* key : {"teacher_evaluations", "remembered_evaluations", "train_seconds"}) {
      out += "," + csv(at(row, key));
    }
    out += "," + csv(at(evaluate, "samples")) + "," + csv(at(evaluate, "reference_samples")) + "\n";
  };
  for (const Json& cell : results["cells"]) {
    bool any = false;
    for (const Json& row : results[list]) {
      if (row.value("cell", "") == cell["name"]) {
        line(cell, row);
        any = true;
      }
    }
    if (!any) {
      for (const Json& steps : at(evaluate, "student_steps")) {
        line(cell, Json{{"student_steps", steps}});
      }
    }
  }
  return out;
}

// `of`: how many values there should be. Seeds that failed, or gave no number, are told of.
Json interval_json(const Interval& i, size_t of) {
  Json out = {{"n", i.count}, {"of", of}, {"mean", i.mean}};
  if (i.count > 1) {
    out["sd"] = i.deviation;
    out["low"] = i.low;
    out["high"] = i.high;
  }
  return out;
}

// What a row is of, less the seed and less one more key: rows with equal settings are comparable.
Json setting_of(const Json& row, const std::string& without) {
  Json out = Json::object();
  for (const auto& [key, value] : at(row, "swept").items()) {
    if (key != "run.seed" && key != without) {
      out[key] = value;
    }
  }
  for (const char* key : {"train_steps", "student_steps", "guidance"}) {
    if (row.contains(key)) {
      out[key] = row[key];
    }
  }
  return out;
}

int64_t seed_of(const Json& row) {
  const Json seed = at(at(row, "swept"), "run.seed");
  return seed.is_number_integer() ? seed.get<int64_t>() : 0;
}

using Samples = std::map<std::string, std::map<int64_t, double>>;  // metric to seed to value

void collect(const Json& row, Samples& into) {
  for (const auto& [name, value] : row["metrics"].items()) {
    if (value.is_number() && std::isfinite(value.get<double>())) {
      into[name][seed_of(row)] = value.get<double>();
    }
  }
}

// Rows gathered by their settings, in order of appearance.
struct Groups {
  std::vector<Json> settings;
  std::vector<std::vector<const Json*>> rows;
  void add(const Json& setting, const Json& row) {
    const auto found = std::find(settings.begin(), settings.end(), setting);
    const auto i = static_cast<size_t>(found - settings.begin());
    if (found == settings.end()) {
      settings.push_back(setting);
      rows.emplace_back();
    }
    rows[i].push_back(&row);
  }
};

// How many seeds a row's setting was to have: as many as there are cells of it, whatever became of them.
size_t planned(const Json& cells, const Json& row) {
  const auto less_seed = [](Json values) {
    values.erase("run.seed");
    return values;
  };
  const Json wanted = less_seed(row.contains("swept") ? row["swept"] : Json::object());
  size_t count = 0;
  for (const Json& cell : cells) {
    count += less_seed(cell["values"]) == wanted ? 1 : 0;
  }
  return count;
}

Json means_of(const Json& rows, const Json& cells) {
  Groups groups;
  for (const Json& row : rows) {
    groups.add(setting_of(row, ""), row);
  }
  Json out = Json::array();
  for (size_t i = 0; i < groups.settings.size(); ++i) {
    Samples samples;
    double seconds = 0, evaluations = 0;
    for (const Json* row : groups.rows[i]) {
      collect(*row, samples);
      seconds += row->value("train_seconds", 0.0);
      evaluations += row->value("teacher_evaluations", 0.0);
    }
    const auto n = static_cast<double>(groups.rows[i].size());
    Json metrics = Json::object();
    for (const auto& [name, value] : (*groups.rows[i][0])["metrics"].items()) {  // in their own order
      std::vector<double> values;
      for (const auto& [seed, v] : samples[name]) {
        values.push_back(v);
      }
      if (!values.empty()) {
        metrics[name] =
            interval_json(bootstrap_mean(values), std::max(planned(cells, *groups.rows[i][0]), groups.rows[i].size()));
      }
    }
    out.push_back({{"setting", groups.settings[i]},
                   {"cell", groups.rows[i][0]->value("cell", "")},
                   {"metrics", metrics},
                   {"teacher_evaluations", evaluations / n},
                   {"train_seconds", seconds / n}});
  }
  return out;
}

Json differences_of(const Json& rows, const Json& cells, const std::string& compare) {
  Groups groups;
  std::vector<Json> values;  // of the compared key
  for (const Json& row : rows) {
    const Json value = at(at(row, "swept"), compare);
    if (value.is_null()) {
      continue;
    }
    if (std::find(values.begin(), values.end(), value) == values.end()) {
      values.push_back(value);
    }
    groups.add(setting_of(row, compare), row);
  }
  Json out = Json::array();
  for (size_t i = 0; i < groups.settings.size(); ++i) {
    for (size_t other = 1; other < values.size(); ++other) {
      Samples first, second;
      size_t of = 0;
      for (const Json* row : groups.rows[i]) {
        const Json value = (*row)["swept"][compare];
        if (value == values[0] || value == values[other]) {
          collect(*row, value == values[0] ? first : second);
          of = std::max(of, planned(cells, *row));
        }
      }
      Json metrics = Json::object();
      for (const auto& [name, by_seed] : first) {
        std::vector<double> paired;
        for (const auto& [seed, value] : by_seed) {
          if (const auto found = second[name].find(seed); found != second[name].end()) {
            paired.push_back(found->second - value);
          }
        }
        if (!paired.empty()) {
          const Interval interval = bootstrap_mean(paired);
          of = std::max(of, paired.size());
          metrics[name] = interval_json(interval, of);
          // Who is missing may be missing for a reason: of what is left alone, no order is claimed.
          metrics[name]["verdict"] = paired.size() < of ? 0 : verdict(interval);
        }
      }
      if (!metrics.empty()) {
        out.push_back(
            {{"setting", groups.settings[i]}, {"from", values[0]}, {"to", values[other]}, {"metrics", metrics}});
      }
    }
  }
  return out;
}

std::string compared_key(const Json& config, const std::vector<Cell>& cells) {
  const std::string chosen =
      at(at(config, "report"), "compare").is_string() ? config["report"]["compare"].get<std::string>() : "";
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

}  // namespace

Json statistics_of(const Json& rows, const std::string& compare, const Json& cells) {
  return {
      {"compare", compare}, {"groups", means_of(rows, cells)}, {"differences", differences_of(rows, cells, compare)}};
}

void present(const fs::path& folder, const Json& report) {
  Json results = read_json(folder / "results.json");
  if (!results.is_object() || (results["name"] == report["name"] && results["config"]["report"] == report["report"])) {
    return;
  }
  results["name"] = report["name"];
  results["config"]["report"] = report["report"];
  write_text(folder / "results.json", results.dump(1) + "\n");
}

void gather(const std::vector<Cell>& cells, const std::vector<fs::path>& folders, const fs::path& output,
            const Json& report, const Json& sweep) {
  Json out = Json::object();
  Json all = Json::array(), students = Json::array(), progress = Json::array(), plugins = Json::array();
  for (size_t i = 0; i < cells.size(); ++i) {
    Json cell = {{"name", cells[i].name}, {"values", to_json(cells[i].values)}};
    const Json results = read_json(folders[i] / "results.json");
    const Json failed = read_json(folders[i] / "failed.json");
    if (failed.is_object()) {
      cell["status"] = "failed";
      cell["error"] = failed.value("error", "");
    } else if (!results.is_object()) {
      cell["status"] = Claim::holder(folders[i]).empty() ? "open" : "running";
    } else {
      cell["status"] = "done";
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
        for (Json row : results[name]) {
          if (row.contains("samples")) {
            row["samples"] = "cells/" + cells[i].name + "/" + row["samples"].get<std::string>();
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
    throw Error("no cell of " + output.string() + " has results");
  }
  out["students"] = std::move(students);
  out["progress"] = std::move(progress);
  out["plugins"] = std::move(plugins);
  out["cells"] = std::move(all);
  out["statistics"] = statistics_of(out["progress"], compared_key(out["config"], cells), out["cells"]);
  write_text(output / "results.json", out.dump(1) + "\n");
  write_text(output / "results.csv", table(out, "students"));
  write_text(output / "progress.csv", table(out, "progress"));
}

std::string summary(const fs::path& folder) {
  const Json results = read_json(folder / "results.json");
  if (!results.is_object() || results["students"].empty()) {
    return "done";
  }
  const Json row = results["students"].front();
  std::vector<std::string> names;
  const Json plot = at(at(results["config"], "report"), "plot");
  if (plot.is_array() && plot.size() == 2) {
    names = plot.get<std::vector<std::string>>();
  }
  for (const auto& [name, value] : row["metrics"].items()) {
    if (names.size() < 2) {
      names.push_back(name);
    }
  }
  std::string out;
  for (const std::string& name : names) {
    if (const Json value = at(row["metrics"], name); value.is_number()) {
      char number[40];
      std::snprintf(number, sizeof number, "%.4g", value.get<double>());
      out += (out.empty() ? "" : ", ") + name + " " + number;
    }
  }
  return out;
}

}  // namespace retort
