#include "results/csv.h"

#include <unordered_map>

#include "results/schema.h"

namespace retort {

namespace {

// Columns that are no row's own.
constexpr const char *status = "status", *samples = "samples", *reference_samples = "reference_samples";

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
  std::vector<std::string> keys, chosen, metrics;
  for (const Json& cell : cells) {
    add_keys(json_at(cell, "values"), keys);
    add_keys(json_at(cell, "chosen"), chosen);
  }
  bool guided = false, averaged = false, budgeted = false;
  std::unordered_map<std::string, std::vector<const Row*>> rows_of;
  for (const Row& row : rows) {
    add_metrics(row, metrics);
    guided = guided || row.guidance;
    averaged = averaged || row.ema_length;
    budgeted = budgeted || row.optimizer_steps;
    rows_of[row.cell].push_back(&row);
  }
  Columns settings = csv_setting_columns();
  if (!guided) {
    std::erase(settings, &columns::guidance);
  }
  if (!averaged) {
    std::erase(settings, &columns::ema_length);
  }
  Columns costs = csv_cost_columns();
  if (!budgeted) {
    std::erase(costs, &columns::optimizer_steps);
  }
  std::string out = columns::cell.key + std::string(",") + status;
  for (const std::string& key : keys) {
    out += "," + csv_field(key);
  }
  for (const std::string& key : chosen) {
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
    for (const std::string& key : keys) {
      out += "," + csv_field(json_at(json_at(cell, "values"), key));
    }
    for (const std::string& key : chosen) {
      out += "," + csv_field(json_at(json_at(cell, "chosen"), key));
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
