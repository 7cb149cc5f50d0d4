#include "sweep/csv.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace retort {

namespace {

const Json& at(const Json& object, const std::string& key) {
  static const Json nothing;
  const auto found = object.find(key);
  return found != object.end() ? *found : nothing;
}

void add_name(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    names.push_back(name);
  }
}

std::string text_of(const Json& value) { return value.is_string() ? value.get<std::string>() : ""; }

}  // namespace

std::string csv_field(const Json& value) {
  if (value.is_null()) {
    return "";
  }
  const std::string text =
      value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.find_first_of(",\"\r\n") == std::string::npos) {
    return text;
  }
  std::string out = "\"";
  for (const char c : text) {
    out += c;
    if (c == '"') {
      out += c;
    }
  }
  return out + "\"";
}

std::string csv_table(const Json& results, const char* list) {
  std::vector<std::string> keys, metrics;
  for (const Json& cell : at(results, "cells")) {
    for (const auto& [key, value] : at(cell, "values").items()) {
      add_name(keys, key);
    }
  }
  bool guided = false;
  std::unordered_map<std::string, std::vector<const Json*>> rows_of;
  for (const Json& row : at(results, list)) {
    for (const auto& [name, value] : at(row, "metrics").items()) {
      add_name(metrics, name);
    }
    guided = guided || row.contains("guidance");
    rows_of[text_of(at(row, "cell"))].push_back(&row);
  }
  const Json& evaluate = at(at(results, "config"), "evaluate");
  std::string out = "cell,status";
  for (const std::string& key : keys) {
    out += "," + csv_field(key);
  }
  out += std::string(",student_steps,train_steps") + (guided ? ",guidance" : "");
  for (const std::string& name : metrics) {
    out += "," + csv_field(name);
  }
  out += ",teacher_evaluations,remembered_evaluations,train_seconds,samples,reference_samples\n";
  const auto line = [&](const Json& cell, const Json& row) {
    out += csv_field(at(cell, "name")) + "," + csv_field(at(cell, "status"));
    for (const std::string& key : keys) {
      out += "," + csv_field(at(at(cell, "values"), key));
    }
    out += "," + csv_field(at(row, "student_steps")) + "," + csv_field(at(row, "train_steps"));
    out += guided ? "," + csv_field(at(row, "guidance")) : "";
    for (const std::string& name : metrics) {
      out += "," + csv_field(at(at(row, "metrics"), name));
    }
    for (const char* key : {"teacher_evaluations", "remembered_evaluations", "train_seconds"}) {
      out += "," + csv_field(at(row, key));
    }
    out += "," + csv_field(at(evaluate, "samples")) + "," + csv_field(at(evaluate, "reference_samples")) + "\n";
  };
  for (const Json& cell : at(results, "cells")) {
    if (const auto found = rows_of.find(text_of(at(cell, "name"))); found != rows_of.end()) {
      for (const Json* row : found->second) {
        line(cell, *row);
      }
    } else {
      for (const Json& steps : at(evaluate, "student_steps")) {
        line(cell, Json{{"student_steps", steps}});
      }
    }
  }
  return out;
}

}  // namespace retort
