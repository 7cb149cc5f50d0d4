#include "results/csv.h"

#include <algorithm>
#include <unordered_map>

#include "results/schema.h"
#include "retort/error.h"

namespace retort {

namespace {

// Columns that are no row's own.
constexpr const char *status = "status", *samples = "samples", *reference_samples = "reference_samples";

// The fields of all lines.
std::vector<std::vector<std::string>> fields_of(const std::string& text) {
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
Json value_in(const std::string& field) {
  if (field.empty()) {
    return nullptr;
  }
  const Json value = Json::parse(field, nullptr, /*allow_exceptions=*/false);
  return value.is_discarded() ? Json(field) : value;
}

bool holds(const Columns& columns, const std::string& key) {
  return std::any_of(columns.begin(), columns.end(), [&](const Column* column) { return key == column->key; });
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
  std::vector<std::string> keys, metrics;
  for (const Json& cell : cells) {
    add_keys(json_at(cell, "values"), keys);
  }
  bool guided = false;
  std::unordered_map<std::string, std::vector<const Row*>> rows_of;
  for (const Row& row : rows) {
    add_metrics(row, metrics);
    guided = guided || row.guidance;
    rows_of[row.cell].push_back(&row);
  }
  Columns settings = csv_setting_columns();
  if (!guided) {
    std::erase(settings, &columns::guidance);
  }
  std::string out = columns::cell.key + std::string(",") + status;
  for (const std::string& key : keys) {
    out += "," + csv_field(key);
  }
  for (const Column* column : settings) {
    out += std::string(",") + column->key;
  }
  for (const std::string& name : metrics) {
    out += "," + csv_field(name);
  }
  for (const Column* column : csv_cost_columns()) {
    out += std::string(",") + column->key;
  }
  out += std::string(",") + samples + "," + reference_samples + "\n";
  const auto line = [&](const Json& cell, const Row& row) {
    out += csv_field(json_at(cell, "name")) + "," + csv_field(json_at(cell, status));
    for (const std::string& key : keys) {
      out += "," + csv_field(json_at(json_at(cell, "values"), key));
    }
    for (const Column* column : settings) {
      out += "," + csv_field(value_of(row, *column));
    }
    const Json measured = value_of(row, columns::metrics);
    for (const std::string& name : metrics) {
      out += "," + csv_field(json_at(measured, name));
    }
    for (const Column* column : csv_cost_columns()) {
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

std::vector<CsvRow> read_csv_table(const std::string& text) {
  const std::vector<std::vector<std::string>> lines = fields_of(text);
  if (lines.empty() || lines[0].size() < 2 || lines[0][0] != columns::cell.key || lines[0][1] != status) {
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

}  // namespace retort
