#include "results/csv.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "results/schema.h"

namespace retort {

namespace {

// Columns that are no row's own.
constexpr const char *status = "status", *samples = "samples", *reference_samples = "reference_samples";

// Of these columns, those that are always there, and those that some row has.
Columns there(Columns from, const std::vector<Row>& rows) {
  for (const Column* column : {&columns::guidance, &columns::ema_length, &columns::optimizer_steps}) {
    if (std::all_of(rows.begin(), rows.end(), [&](const Row& row) { return value_of(row, *column).is_null(); })) {
      std::erase(from, column);
    }
  }
  return from;
}

}  // namespace

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

std::string csv_table(const std::vector<Row>& rows, const Json& cells, const Json& evaluate) {
  const char* const settings_of_cells[] = {"values", "chosen"};  // what was swept, and what [sweep.tune] found
  std::vector<std::pair<const char*, std::string>> keys;         // of these
  for (const char* const kind : settings_of_cells) {
    std::vector<std::string> own;
    for (const Json& cell : cells) {
      add_keys(json_at(cell, kind), own);
    }
    for (const std::string& key : own) {
      keys.emplace_back(kind, key);
    }
  }
  std::vector<std::string> metrics;
  std::unordered_map<std::string, std::vector<const Row*>> rows_of;
  for (const Row& row : rows) {
    add_metrics(row, metrics);
    rows_of[row.cell].push_back(&row);
  }
  const Columns settings = there(csv_setting_columns(), rows), costs = there(csv_cost_columns(), rows);
  std::string out = columns::cell.key + std::string(",") + status;
  for (const auto& [kind, key] : keys) {
    out += "," + csv_field(key);
  }
  for (const Column* column : settings) {
    out += std::string(",") + column->key;
  }
  for (const std::string& name : metrics) {
    out += "," + csv_field(name);
  }
  for (const Column* column : costs) {
    out += std::string(",") + column->key;
  }
  out += std::string(",") + samples + "," + reference_samples + "\n";
  const auto line = [&](const Json& cell, const Row& row) {
    out += csv_field(json_at(cell, "name")) + "," + csv_field(json_at(cell, status));
    for (const auto& [kind, key] : keys) {
      out += "," + csv_field(json_at(json_at(cell, kind), key));
    }
    for (const Column* column : settings) {
      out += "," + csv_field(value_of(row, *column));
    }
    const Json measured = value_of(row, columns::metrics);
    for (const std::string& name : metrics) {
      out += "," + csv_field(json_at(measured, name));
    }
    for (const Column* column : costs) {
      out += "," + csv_field(value_of(row, *column));
    }
    out += "," + csv_field(json_at(evaluate, samples)) + "," + csv_field(json_at(evaluate, reference_samples)) + "\n";
  };
  for (const Json& cell : cells) {
    if (const auto found = rows_of.find(text_at(cell, "name")); found != rows_of.end()) {
      for (const Row* row : found->second) {
        line(cell, *row);
      }
    } else {
      for (const Json& steps : json_at(evaluate, columns::student_steps.key)) {
        line(cell, row_from({{columns::student_steps.key, steps}}));
      }
    }
  }
  return out;
}

}  // namespace retort
