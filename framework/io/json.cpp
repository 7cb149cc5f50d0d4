#include "io/json.h"

#include <limits>
#include <algorithm>
#include <cmath>

#include "retort/error.h"

namespace retort {

std::string spell(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

const Json& json_at(const Json& object, const std::string& key) {
  static const Json nothing;
  const auto found = object.find(key);
  return found != object.end() ? *found : nothing;
}

std::string text_at(const Json& object, const std::string& key) {
  const Json& value = json_at(object, key);
  return value.is_string() ? value.get<std::string>() : "";
}

double number_at(const Json& object, const std::string& key) {
  const Json& value = json_at(object, key);
  return value.is_number() ? value.get<double>() : 0.0;
}

int64_t integer_at(const Json& object, const std::string& key) {
  const Json& value = json_at(object, key);
  return value.is_number_integer() ? value.get<int64_t>() : std::llround(number_at(object, key));
}

std::string valid_utf8(const std::string& text) { return Json::parse(spell(Json(text))).get<std::string>(); }

void add_keys(const Json& object, std::vector<std::string>& names) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      names.push_back(key);
    }
  }
}

Json to_json(const Value& value) {
  if (const Array* array = std::get_if<Array>(&value.data)) {
    Json out = Json::array();
    for (const Value& item : *array) {
      out.push_back(to_json(item));
    }
    return out;
  }
  if (value.is_table()) {
    Json out = Json::object();
    for (const auto& [key, item] : value.table()) {
      out[key] = to_json(item);
    }
    return out;
  }
  if (const bool* b = std::get_if<bool>(&value.data)) {
    return *b;
  }
  if (const int64_t* i = std::get_if<int64_t>(&value.data)) {
    return *i;
  }
  if (const double* d = std::get_if<double>(&value.data)) {
    return *d;
  }
  return std::get<std::string>(value.data);
}

Value from_json(const Json& json, const std::string& origin) {
  Value out;
  out.origin = {origin, 0};
  if (json.is_object()) {
    for (const auto& [key, item] : json.items()) {
      if (!item.is_null()) {
        out.table().emplace_back(key, from_json(item, origin));
      }
    }
  } else if (json.is_array()) {
    Array items;
    for (const Json& item : json) {
      items.push_back(from_json(item, origin));
    }
    out.data = std::move(items);
  } else if (json.is_boolean()) {
    out.data = json.get<bool>();
  } else if (json.is_number_integer()) {
    out.data = json.get<int64_t>();
  } else if (json.is_number()) {
    out.data = json.get<double>();
  } else if (json.is_string()) {
    out.data = json.get<std::string>();
  } else if (json.is_null()) {  // what JSON has in place of a number that is none
    out.data = std::numeric_limits<double>::quiet_NaN();
  } else {
    throw RequestError(origin + ": holds a value of an unknown type");
  }
  return out;
}

}  // namespace retort
