#include "sweep/csv.h"

#include <unordered_map>
#include <vector>

namespace retort {

std::string csv_field(const Json& value) {
  if (value.is_null()) {
    return "";
  }
  const std::string text = value.is_string() ? value.get<std::string>() : spell(value);
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
  for (const Json& cell : json_at(results, "cells")) {
    add_keys(json_at(cell, "values"), keys);
  }
  bool guided = false;
  std::unordered_map<std::string, std::vector<const Json*>> rows_of;
  for (const Json& row : json_at(results, list)) {
    add_keys(json_at(row, "metrics"), metrics);
    guided = guided || row.contains("guidance");
    rows_of[text_at(row, "cell")].push_back(&row);
  }
  const Json& evaluate = json_at(json_at(results, "config"), "evaluate");
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
    out += csv_field(json_at(cell, "name")) + "," + csv_field(json_at(cell, "status"));
    for (const std::string& key : keys) {
      out += "," + csv_field(json_at(json_at(cell, "values"), key));
    }
    out += "," + csv_field(json_at(row, "student_steps")) + "," + csv_field(json_at(row, "train_steps"));
    out += guided ? "," + csv_field(json_at(row, "guidance")) : "";
    for (const std::string& name : metrics) {
      out += "," + csv_field(json_at(json_at(row, "metrics"), name));
    }
    for (const char* key : {"teacher_evaluations", "remembered_evaluations", "train_seconds"}) {
      out += "," + csv_field(json_at(row, key));
    }
    out +=
        "," + csv_field(json_at(evaluate, "samples")) + "," + csv_field(json_at(evaluate, "reference_samples")) + "\n";
  };
  for (const Json& cell : json_at(results, "cells")) {
    if (const auto found = rows_of.find(text_at(cell, "name")); found != rows_of.end()) {
      for (const Json* row : found->second) {
        line(cell, *row);
      }
    } else {
      for (const Json& steps : json_at(evaluate, "student_steps")) {
        line(cell, Json{{"student_steps", steps}});
      }
    }
  }
  return out;
}

}  // namespace retort
