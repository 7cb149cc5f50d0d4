/// Tables of results in CSV, read back.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "results/schema.h"
#include "retort/error.h"

namespace retort::test {

/// The fields of all lines, as RFC 4180 has them.
inline std::vector<std::vector<std::string>> csv_fields(const std::string& text) {
  std::vector<std::vector<std::string>> out;
  bool quoted = false, begins = true;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (begins) {
      out.push_back({""});
      begins = false;
    }
    std::string& field = out.back().back();
    if (c == '"' && quoted && i + 1 < text.size() && text[i + 1] == '"') {
      field += text[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (quoted || (c != ',' && c != '\n')) {
      field += c;
    } else if (c == ',') {
      out.back().emplace_back();
    } else {
      begins = true;
    }
  }
  return out;
}

// What csv_field was given: null, a value, or a text.
inline Json value_in(const std::string& field) {
  if (field.empty()) {
    return nullptr;
  }
  const Json value = Json::parse(field, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? Json(field) : value;
}

inline bool holds(const Columns& columns, const std::string& key) {
  return std::any_of(columns.begin(), columns.end(), [&](const Column* column) { return key == column->key; });
}

struct CsvRow {
  std::string status;  // of the cell; only "done" ones have all columns
  Row row;             // less its loss, series and samples, which a CSV does not hold; metrics without a number are NaN
};
/// Reads what csv_table writes. A swept text that spells a JSON value is read as this value. Throws RequestError where
/// it is none.
inline std::vector<CsvRow> read_csv_table(const std::string& text) {
  const std::vector<std::vector<std::string>> lines = csv_fields(text);
  if (lines.empty() || lines[0].size() < 2 || lines[0][0] != columns::cell.key || lines[0][1] != "status") {
    throw RequestError("a table of results begins with the columns 'cell' and 'status'");
  }
  const std::vector<std::string>& heads = lines[0];
  std::vector<CsvRow> out;
  for (size_t l = 1; l < lines.size(); ++l) {
    if (lines[l].size() != heads.size()) {
      throw RequestError("line " + std::to_string(l + 1) + " has " + std::to_string(lines[l].size()) +
                         " fields; expected " + std::to_string(heads.size()));
    }
    // Swept keys come before the settings, metrics between these and the costs.
    Json row = {{columns::cell.key, lines[l][0]}, {columns::metrics.key, Json::object()}};
    enum { in_swept, in_metrics, in_rest } part = in_swept;
    for (size_t i = 2; i < heads.size(); ++i) {
      const Json value = value_in(lines[l][i]);
      if (part != in_rest && holds(csv_setting_columns(), heads[i])) {
        part = in_metrics;
        row[heads[i]] = value;
      } else if (holds(csv_cost_columns(), heads[i])) {
        part = in_rest;
        row[heads[i]] = value;
      } else if (part == in_swept) {
        row[columns::swept.key][heads[i]] = value;
      } else if (part == in_metrics && lines[l][1] == "done") {
        row[columns::metrics.key][heads[i]] = value;
      }
    }
    out.push_back({lines[l][1], row_from(row)});
  }
  return out;
}

}  // namespace retort::test
