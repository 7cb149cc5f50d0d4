#include "results/row.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "results/schema.h"

namespace retort {

namespace {

// Of each type that a column may have: its JSON, null where there is nothing to write.
Json written(double value) { return std::isfinite(value) ? Json(value) : Json(); }
Json written(const std::string& value) { return value; }
Json written(const Json& swept) { return swept.empty() ? Json() : swept; }
template <class T>
Json written(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}
Json written(const Points& points) {
  Json out = Json::array();
  for (const auto& [x, y] : points) {
    out.push_back(Json::array({written(x), written(y)}));
  }
  return out;
}
template <class T>
Json written(const Named<T>& values) {
  Json out = Json::object();
  for (const auto& [name, value] : values) {
    out[name] = written(value);
  }
  return out;
}

// And back. What is no such value leaves it as it was.
void read(const Json& json, double& out) {
  out = json.is_number() ? json.get<double>() : std::numeric_limits<double>::quiet_NaN();
}
void read(const Json& json, std::string& out) {
  if (json.is_string()) {
    out = json.get<std::string>();
  }
}
void read(const Json& json, Json& out) {
  if (json.is_object()) {
    out = json;
  }
}
void read(const Json& json, std::optional<std::string>& out) {
  if (json.is_string()) {
    out = json.get<std::string>();
  }
}
void read(const Json& json, std::optional<int64_t>& out) {
  constexpr double most = 9e18;
  if (json.is_number_integer()) {
    out = json.get<int64_t>();
  } else if (json.is_number() && std::fabs(json.get<double>()) < most) {
    out = std::llround(json.get<double>());
  }
}
void read(const Json& json, std::optional<double>& out) {
  if (json.is_number()) {
    out = json.get<double>();
  }
}
void read(const Json& json, Points& out) {
  if (!json.is_array()) {
    return;
  }
  for (const Json& point : json) {
    if (point.is_array() && point.size() == 2) {
      out.emplace_back();
      read(point[0], out.back().first);
      read(point[1], out.back().second);
    }
  }
}
template <class T>
void read(const Json& json, Named<T>& out) {
  if (!json.is_object()) {
    return;
  }
  for (const auto& [name, value] : json.items()) {
    out.emplace_back(name, T{});
    read(value, out.back().second);
  }
}

}  // namespace

Json value_of(const Row& row, const Column& column) {
  return std::visit([&](auto member) { return written(row.*member); }, column.member);
}

Json to_json(const Row& row, const std::vector<const Column*>& columns) {
  Json out = Json::object();
  for (const Column* column : columns) {
    if (Json value = value_of(row, *column); !value.is_null()) {
      out[column->key] = std::move(value);
    }
  }
  return out;
}

Json to_json(const Row& row) { return to_json(row, all_columns()); }

Json to_json(const std::vector<Row>& rows) {
  Json out = Json::array();
  for (const Row& row : rows) {
    out.push_back(to_json(row));
  }
  return out;
}

Row row_from(const Json& json) {
  Row out;
  for (const Column* column : all_columns()) {
    std::visit([&](auto member) { read(json_at(json, column->key), out.*member); }, column->member);
  }
  return out;
}

std::vector<Row> rows_from(const Json& list) {
  std::vector<Row> out;
  for (const Json& json : list) {
    out.push_back(row_from(json));
  }
  return out;
}

const double* metric_of(const Row& row, const std::string& name) {
  const auto found =
      std::find_if(row.metrics.begin(), row.metrics.end(), [&](const auto& metric) { return metric.first == name; });
  return found != row.metrics.end() ? &found->second : nullptr;
}

void add_metrics(const Row& row, std::vector<std::string>& names) {
  for (const auto& [name, value] : row.metrics) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  }
}

}  // namespace retort
