#include "report/results.h"

#include <algorithm>

#include "io/files.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

Json& object_in(Json& parent, const char* key) {
  Json& child = parent[key];
  if (!child.is_object()) {
    child = Json::object();
  }
  return child;
}

// A list of objects.
Json& list_in(Json& parent, const char* key) {
  Json& child = parent[key];
  if (!child.is_array()) {
    child = Json::array();
  }
  child.erase(std::remove_if(child.begin(), child.end(), [](const Json& item) { return !item.is_object(); }),
              child.end());
  return child;
}

void add_new(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    names.push_back(name);
  }
}

std::vector<std::string> texts(const Json& list) {
  std::vector<std::string> out;
  if (list.is_array()) {
    for (const Json& item : list) {
      if (item.is_string()) {
        out.push_back(item.get<std::string>());
      }
    }
  }
  return out;
}

}  // namespace

Json load_results(const fs::path& folder) {
  if (!fs::exists(folder / "results.json")) {
    throw RequestError(folder.string() + ": holds no results.json; expected the folder of a finished run");
  }
  Json results = Json::parse(read_text(folder / "results.json"), nullptr, false);
  if (!results.is_object() || !results.contains("students") || !results.contains("teacher")) {
    throw RequestError((folder / "results.json").string() + ": is damaged; run the configuration again with --fresh");
  }
  return results;
}

Results read_results(const fs::path& folder) { return results_of(load_results(folder)); }

Results results_of(Json json) {
  Results out;
  Json& results = out.json;
  results = std::move(json);
  Json& config = object_in(results, "config");
  for (const char* part : {"report", "evaluate", "run"}) {
    object_in(config, part);
  }
  object_in(object_in(results, "teacher"), "metrics");
  if (!results.contains("progress")) {
    results["progress"] = results["students"];
  }
  for (const auto& [list, name] : {std::pair(&out.students, "students"), std::pair(&out.progress, "progress")}) {
    *list = rows_from(list_in(results, name));
  }
  results.erase("students");
  results.erase("progress");
  list_in(results, "cells");
  list_in(results, "plugins");
  return out;
}

ShownMetrics shown_metrics(const Results& results) {
  std::vector<std::string> measured;
  for (const std::vector<Row>* list : {&results.students, &results.progress}) {
    for (const Row& row : *list) {
      add_metrics(row, measured);
    }
  }
  add_keys(results.json["teacher"]["metrics"], measured);
  const Json& report = results.json["config"]["report"];
  const std::vector<std::string> chosen = texts(json_at(report, "columns"));
  ShownMetrics out;
  for (const std::string& name : chosen) {
    const bool known = std::find(measured.begin(), measured.end(), name) != measured.end();
    add_new(known ? out.shown : out.missing, name);
  }
  for (const std::string& name : texts(json_at(report, "plot"))) {
    if (std::find(measured.begin(), measured.end(), name) == measured.end()) {
      add_new(out.missing, name);
    }
  }
  if (out.shown.empty()) {
    out.shown = measured;
  }
  return out;
}

}  // namespace retort
