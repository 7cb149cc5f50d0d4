#include "retort/params.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "retort/host.h"

namespace retort {

namespace {

// What C++ types are called in messages, and how they are read from a value.
template <class T>
struct Reader;

template <>
struct Reader<bool> {
  static constexpr const char* type = "boolean";
  static bool read(const Value& v, bool& out) {
    if (const bool* b = std::get_if<bool>(&v.data)) {
      out = *b;
      return true;
    }
    return false;
  }
};
template <>
struct Reader<int64_t> {
  static constexpr const char* type = "integer";
  static bool read(const Value& v, int64_t& out) {
    if (const int64_t* i = std::get_if<int64_t>(&v.data)) {
      out = *i;
      return true;
    }
    return false;
  }
};
template <>
struct Reader<double> {
  static constexpr const char* type = "number";
  static bool read(const Value& v, double& out) {
    if (const double* d = std::get_if<double>(&v.data)) {
      out = *d;
      return true;
    }
    if (const int64_t* i = std::get_if<int64_t>(&v.data)) {
      out = static_cast<double>(*i);
      return true;
    }
    return false;
  }
};
template <>
struct Reader<std::string> {
  static constexpr const char* type = "string";
  static bool read(const Value& v, std::string& out) {
    if (const std::string* s = std::get_if<std::string>(&v.data)) {
      out = *s;
      return true;
    }
    return false;
  }
};
template <class T>
struct Reader<std::vector<T>> {
  static bool read(const Value& v, std::vector<T>& out) {
    const Array* array = std::get_if<Array>(&v.data);
    if (array == nullptr) {
      return false;
    }
    out.assign(array->size(), T{});
    for (size_t i = 0; i < array->size(); ++i) {
      T item{};
      if (!Reader<T>::read((*array)[i], item)) {
        return false;
      }
      out[i] = item;
    }
    return true;
  }
};

/// A number stands for a row of one.
template <>
struct Reader<std::vector<std::vector<double>>> {
  static bool read(const Value& v, std::vector<std::vector<double>>& out) {
    const Array* array = std::get_if<Array>(&v.data);
    if (array == nullptr) {
      return false;
    }
    out.assign(array->size(), {});
    for (size_t i = 0; i < array->size(); ++i) {
      double number = 0;
      if (Reader<double>::read((*array)[i], number)) {
        out[i] = {number};
      } else if (!Reader<std::vector<double>>::read((*array)[i], out[i])) {
        return false;
      }
    }
    return true;
  }
};

template <class T>
std::string type_of() {
  return Reader<T>::type;
}
template <>
std::string type_of<std::vector<double>>() {
  return "list of numbers";
}
template <>
std::string type_of<std::vector<int64_t>>() {
  return "list of integers";
}
template <>
std::string type_of<std::vector<std::string>>() {
  return "list of strings";
}
template <>
std::string type_of<std::vector<std::vector<double>>>() {
  return "list of lists of numbers";
}

template <class T>
Value to_value(const T& v) {
  return Value{v, {}};
}
template <class T>
Value to_value(const std::vector<T>& v) {
  Array array;
  for (const T& item : v) {
    array.push_back(to_value(item));
  }
  return Value{array, {}};
}

// No parameter is infinite or no number: what is computed from it would not be either.
bool inside(double v, const Range& r) {
  return std::isfinite(v) && (r.low_open ? v > r.low : v >= r.low) && (r.high_open ? v < r.high : v <= r.high);
}

std::string plain(double v) {
  std::string text = Value{v, {}}.text();
  return text.ends_with(".0") ? text.substr(0, text.size() - 2) : text;
}

std::string spell(const Range& r) {
  const bool low = std::isfinite(r.low);
  const bool high = std::isfinite(r.high);
  if (low && high) {
    return (r.low_open ? "over " : "") + plain(r.low) + " to " + (r.high_open ? "under " : "") + plain(r.high);
  }
  if (low) {
    return (r.low_open ? "> " : ">= ") + plain(r.low);
  }
  return high ? (r.high_open ? "< " : "<= ") + plain(r.high) : "";
}

template <class T>
const double* outside(const T& v, const Range& r, double& bad) {
  if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    bad = static_cast<double>(v);
    return inside(bad, r) ? nullptr : &bad;
  }
  return nullptr;
}
template <class T>
const double* outside(const std::vector<T>& v, const Range& r, double& bad) {
  for (const T& item : v) {
    if (const double* found = outside(item, r, bad)) {
      return found;
    }
  }
  return nullptr;
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    out += (out.empty() ? "'" : ", '") + word + "'";
  }
  return out;
}

// A relative path counts from the folder of the file that it is written in.
std::string from_its_file(const std::string& path, const Value* value) {
  if (value == nullptr || path.empty() || std::filesystem::path(path).is_absolute() || value->origin.file.empty()) {
    return path;
  }
  return (std::filesystem::path(value->origin.file).parent_path() / path).lexically_normal().string();
}

}  // namespace

Params::Params(const Value& table, std::string path, Host* host) : table_(table), path_(std::move(path)), host_(host) {
  if (!table_.is_table()) {
    throw RequestError(to_string(table_.origin) + ": '" + path_ + "' is " + table_.type_name() +
                       "; expected a table, [" + path_ + "]");
  }
}

Params Params::describing() {
  Params p;
  p.describing_ = true;
  return p;
}

const Value* Params::look_up(std::string_view name) {
  asked_.emplace_back(name);
  return table_.find(name);
}

bool Params::given(std::string_view name) const { return table_.find(name) != nullptr; }

Host& Params::host() const {
  if (host_ == nullptr) {
    throw Error("'" + path_ + "' needs the host, which is not there");
  }
  return *host_;
}

RequestError Params::error(std::string_view name, const std::string& what) const {
  const Value* value = table_.find(name);
  const Origin& origin = value != nullptr ? value->origin : table_.origin;
  return RequestError(to_string(origin) + ": " + path_ + "." + std::string(name) + ": " + what);
}

void Params::record(std::string_view name, std::string type, Value fallback, std::string_view doc, const Range& range,
                    std::vector<std::string> choices) {
  if (describing_) {
    described_.push_back({std::string(name), std::move(type), fallback.text(), requiring_, spell(range),
                          std::move(choices), std::string(doc)});
  } else if (requiring_ && table_.find(name) == nullptr) {
    throw error(name, "missing; expected " + type + ", for example " + fallback.text() + " (" + std::string(doc) + ")");
  }
  requiring_ = false;
}

void Params::keep(std::string_view name, Value value) { resolved_[name] = std::move(value); }

template <class T>
T Params::read(std::string_view name, T fallback, std::string_view doc, const Range& range) {
  const Value* value = look_up(name);
  record(name, type_of<T>(), to_value(fallback), doc, range);
  T out = fallback;
  if (value != nullptr && !Reader<T>::read(*value, out)) {
    throw error(name, "is " + value->type_name() + ", " + value->text() + "; expected " + type_of<T>());
  }
  double bad = 0;
  if (value != nullptr && outside(out, range, bad) != nullptr) {
    throw error(name, plain(bad) + " is out of range; expected " + (std::isfinite(bad) ? "" : "a finite number") +
                          (std::isfinite(bad) || spell(range).empty() ? "" : ", ") + spell(range));
  }
  keep(name, to_value(out));
  return out;
}

bool Params::get(std::string_view name, bool fallback, std::string_view doc) { return read(name, fallback, doc, {}); }
int64_t Params::get(std::string_view name, int64_t fallback, std::string_view doc, Range range) {
  return read(name, fallback, doc, range);
}
int64_t Params::get(std::string_view name, int fallback, std::string_view doc, Range range) {
  return read(name, static_cast<int64_t>(fallback), doc, range);
}
double Params::get(std::string_view name, double fallback, std::string_view doc, Range range) {
  return read(name, fallback, doc, range);
}
std::string Params::get(std::string_view name, const char* fallback, std::string_view doc) {
  return read(name, std::string(fallback), doc, {});
}
std::vector<double> Params::get(std::string_view name, std::vector<double> fallback, std::string_view doc,
                                Range range) {
  return read(name, std::move(fallback), doc, range);
}
std::vector<int64_t> Params::get(std::string_view name, std::vector<int64_t> fallback, std::string_view doc,
                                 Range range) {
  return read(name, std::move(fallback), doc, range);
}
std::vector<std::string> Params::get(std::string_view name, std::vector<std::string> fallback, std::string_view doc) {
  return read(name, std::move(fallback), doc, {});
}
std::vector<std::vector<double>> Params::get(std::string_view name, std::vector<std::vector<double>> fallback,
                                             std::string_view doc) {
  return read(name, std::move(fallback), doc, {});
}

std::string Params::choice(std::string_view name, std::string_view fallback, const std::vector<std::string>& choices,
                           std::string_view doc) {
  const Value* value = look_up(name);
  record(name, "string", to_value(std::string(fallback)), doc, {}, choices);
  std::string out(fallback);
  if (value != nullptr) {
    if (!Reader<std::string>::read(*value, out)) {
      throw error(name, "is " + value->type_name() + ", " + value->text() + "; expected one of " + join(choices));
    }
    if (std::find(choices.begin(), choices.end(), out) == choices.end()) {
      throw error(name, "'" + out + "' is unknown; expected one of " + join(choices) + did_you_mean(out, choices));
    }
  }
  keep(name, to_value(out));
  return out;
}

std::string Params::path(std::string_view name, const char* fallback, std::string_view doc) {
  const Value* value = look_up(name);
  record(name, "path", to_value(std::string(fallback)), doc, {});
  std::string out = fallback;
  if (value != nullptr && !Reader<std::string>::read(*value, out)) {
    throw error(name, "is " + value->type_name() + ", " + value->text() + "; expected a path in quotes");
  }
  out = from_its_file(out, value);
  paths_.insert(std::string(name));
  keep(name, to_value(out));
  return out;
}

std::vector<std::string> Params::paths(std::string_view name, std::vector<std::string> fallback, std::string_view doc) {
  const Value* value = look_up(name);
  record(name, "path or list of paths", to_value(fallback), doc, {});
  std::vector<std::string> out = std::move(fallback);
  std::string one;
  if (value != nullptr && Reader<std::string>::read(*value, one)) {
    out = one.empty() ? std::vector<std::string>{} : std::vector<std::string>{one};
  } else if (value != nullptr && !Reader<std::vector<std::string>>::read(*value, out)) {
    throw error(name,
                "is " + value->type_name() + ", " + value->text() + "; expected a path in quotes, or a list of them");
  }
  for (std::string& path : out) {
    path = from_its_file(path, value);
  }
  paths_.insert(std::string(name));
  keep(name, to_value(out));
  return out;
}

std::shared_ptr<void> Params::nested(const char* kind, std::string_view name, std::string_view fallback_type,
                                     std::string_view doc) {
  const Value* value = look_up(name);
  record(name, std::string(kind) + " plugin", to_value(std::string(fallback_type)), doc, {});
  if (describing_) {
    return nullptr;
  }
  Value inner;
  inner.origin = value != nullptr ? value->origin : table_.origin;
  if (value != nullptr && value->is_table()) {
    inner = *value;
  } else if (value != nullptr) {
    std::string type;
    if (!Reader<std::string>::read(*value, type)) {
      throw error(name, "is " + value->type_name() + ", " + value->text() + "; expected the name of a " +
                            std::string(kind) + " or a table with its type");
    }
    inner["type"] = *value;
  }
  Value resolved;
  std::shared_ptr<void> made = make_nested(kind, inner, std::string(name), fallback_type, resolved);
  keep(name, std::move(resolved));
  return made;
}

std::shared_ptr<void> Params::make_nested(const char* kind, const Value& table, const std::string& name,
                                          std::string_view fallback_type, Value& resolved) {
  Params p(table, path_.empty() ? name : path_ + "." + name, host_);
  const std::string type = p.get("type", std::string(fallback_type).c_str(), "which plugin");
  if (type.empty()) {
    throw p.error("type", std::string("missing; expected the name of a ") + kind);
  }
  std::shared_ptr<void> made = host().make(kind, type, p);
  p.finish();
  for (const std::string& key : p.path_keys()) {
    paths_.insert(name + "." + key);
  }
  for (const std::string& key : p.left_out()) {
    left_out_within_.push_back(name + "." + key);
  }
  resolved = p.resolved();
  return made;
}

std::vector<std::pair<std::shared_ptr<void>, double>> Params::nested_list(const char* kind, std::string_view name,
                                                                          std::string_view doc) {
  const Value* value = look_up(name);
  record(name, "list of " + std::string(kind) + " plugins", Value{Array{}, {}}, doc, {});
  if (describing_) {
    return {};
  }
  const Array* list = value != nullptr ? std::get_if<Array>(&value->data) : nullptr;
  if (list == nullptr || list->empty()) {
    throw error(name, std::string(value == nullptr ? "missing" : "is " + value->type_name()) +
                          "; expected a list of tables, such as [{ type = \"…\", weight = 1.0 }]");
  }
  std::vector<std::pair<std::shared_ptr<void>, double>> out;
  Array all;
  for (const Value& item : *list) {
    const std::string own = std::string(name) + "." + std::to_string(all.size());
    if (!item.is_table()) {
      throw RequestError(to_string(item.origin) + ": " + path_ + "." + own + ": is " + item.type_name() +
                         "; expected a table, such as { type = \"…\", weight = 1.0 }");
    }
    Value table = item, resolved, kept;
    table.origin = item.origin;
    double weight = 1;
    if (const Value* given = item.find("weight")) {
      if (!Reader<double>::read(*given, weight) || !(std::isfinite(weight)) || weight < 0) {
        throw RequestError(to_string(given->origin) + ": " + path_ + "." + own + ".weight: is " + given->text() +
                           "; expected a number of at least 0");
      }
      table.erase("weight");
    }
    out.emplace_back(make_nested(kind, table, own, "", resolved), weight);
    resolved["weight"] = Value{weight, {}};
    all.push_back(std::move(resolved));
  }
  keep(name, Value{std::move(all), {}});
  return out;
}

void Params::finish() const {
  for (const auto& [key, value] : table_.table()) {
    if (!value.left_over && std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
      std::string known = asked_.empty() ? "it takes no keys" : "known keys are " + join(asked_);
      throw RequestError(to_string(value.origin) + ": unknown key '" + path_ + (path_.empty() ? "" : ".") + key + "'" +
                         did_you_mean(key, asked_) + " (" + known + ")");
    }
  }
}

std::vector<std::string> Params::left_out() const {
  std::vector<std::string> out = left_out_within_;
  for (const auto& [key, value] : table_.table()) {
    if (value.left_over && std::find(asked_.begin(), asked_.end(), key) == asked_.end()) {
      out.push_back(key);
    }
  }
  return out;
}

}  // namespace retort
