#include "sweep/axes.h"

#include <algorithm>
#include <cmath>

#include "config/keys.h"
#include "config/old_keys.h"
#include "retort/error.h"

namespace retort {

namespace {

const std::vector<std::string> words = {"zip", "cells", "exclude", "seeds", "tune", "search"};

const std::vector<std::string> tune_words = {"by", "seeds", "student_steps"};

RequestError wrong(const Origin& at, const std::string& what) { return RequestError(to_string(at) + ": " + what); }

const Array& list_at(const Value& value, const std::string& name) {
  const Array* values = std::get_if<Array>(&value.data);
  if (values == nullptr || values->empty()) {
    throw wrong(value.origin, name + " is " + (values == nullptr ? value.type_name() : "an empty list") +
                                  "; expected a list of values, and a dotted key such as \"loss.type\"");
  }
  return *values;
}

// The tables of a list of tables, or of a single one.
std::vector<Value> tables_at(const Value& value, const std::string& name) {
  if (value.is_table()) {
    return {value};
  }
  std::vector<Value> out;
  for (const Value& item : list_at(value, name)) {
    if (!item.is_table()) {
      throw wrong(value.origin,
                  name + " holds " + item.type_name() + "; expected tables, such as { \"loss.type\" = … }");
    }
    out.push_back(item);
  }
  return out;
}

// { min, max } and perhaps log: what else stands there is told later, as a fault of a range.
bool is_range(const Value& value) {
  return value.is_table() && (value.find("min") != nullptr || value.find("max") != nullptr);
}

// Keys are dotted paths; written without quotes, TOML makes them tables within tables.
void flatten(const Value& table, const std::string& prefix, Table& out) {
  for (const auto& [key, value] : table.table()) {
    std::string path;
    try {
      path = present_key(prefix + same_spelling(key), value.origin);
    } catch (const RequestError& e) {
      throw wrong(value.origin, std::string("sweep: ") + e.what());
    }
    if (value.is_table() && !value.table().empty() && !is_range(value)) {
      flatten(value, path + ".", out);
    } else if (std::any_of(out.begin(), out.end(), [&](const auto& entry) { return entry.first == path; })) {
      throw wrong(value.origin, "sweep: \"" + path + "\" is swept twice");
    } else {
      out.emplace_back(path, value);
    }
  }
}

Value flat(const Value& table) {
  Value out;
  out.origin = table.origin;
  flatten(table, "", out.table());
  return out;
}

Value flat_tables(const Value& value) {
  if (value.is_table()) {
    return flat(value);
  }
  Value out = value;
  if (Array* list = std::get_if<Array>(&out.data)) {
    for (Value& item : *list) {
      item = item.is_table() ? flat(item) : item;
    }
  }
  return out;
}

Value flat_tune(const Value& tune) {
  if (!tune.is_table()) {
    return tune;
  }
  Value said, rest;
  said.origin = rest.origin = tune.origin;
  for (const auto& [key, value] : tune.table()) {
    (is_tune_word(key) ? said : rest)[key] = value;
  }
  const Value lists = flat(rest);
  said.table().insert(said.table().begin(), lists.table().begin(), lists.table().end());
  return said;
}

Axis seeds_axis(const Value& value) {
  Axis axis{value.origin, {}, "run.seed"};
  if (const int64_t* count = std::get_if<int64_t>(&value.data)) {
    if (*count < 1 || *count > most_cells) {
      throw wrong(value.origin, "sweep.seeds = " + std::to_string(*count) + "; expected 1 to " +
                                    std::to_string(most_cells) + ", or a list of seeds");
    }
    for (int64_t seed = 0; seed < *count; ++seed) {
      axis.places.push_back({{"run.seed", Value{seed, value.origin}}});
    }
    return axis;
  }
  for (const Value& seed : list_at(value, "sweep.seeds")) {
    if (!std::holds_alternative<int64_t>(seed.data)) {
      throw wrong(value.origin, "sweep.seeds holds " + seed.type_name() + "; expected integers");
    }
    axis.places.push_back({{"run.seed", seed}});
  }
  return axis;
}

// What one value of a swept key sets: itself, or, of a type given as a table, the type and keys for it alone.
Assignments place_of(const std::string& key, const Value& value) {
  const Value* type = key.ends_with(".type") ? value.find("type") : nullptr;
  if (type == nullptr) {
    return {{key, value}};
  }
  const std::string table = key.substr(0, key.size() - 4);
  Assignments out;
  const Value whole = flat(value);
  for (const auto& [name, inner] : whole.table()) {
    out.emplace_back(table + name, inner);
  }
  return out;
}

double end_of(const Value& range, const char* name, const std::string& key) {
  const Value* end = range.find(name);
  if (end != nullptr && std::holds_alternative<int64_t>(end->data)) {
    return static_cast<double>(std::get<int64_t>(end->data));
  }
  if (end != nullptr && std::holds_alternative<double>(end->data)) {
    return std::get<double>(end->data);
  }
  throw wrong(range.origin, "sweep.\"" + key + "\" has " + (end == nullptr ? "no " : "no number as ") + name +
                                "; expected { min = …, max = … }, and log = true where it is drawn by its logarithm");
}

Axis range_axis(const std::string& key, const Value& written) {
  static const std::vector<std::string> known = {"min", "max", "log"};
  for (const auto& [name, value] : written.table()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw wrong(value.origin,
                  "sweep.\"" + key + "\": unknown key '" + name + "' of a range" + did_you_mean(name, known));
    }
  }
  const Value* log = written.find("log");
  if (log != nullptr && !std::holds_alternative<bool>(log->data)) {
    throw wrong(log->origin, "sweep.\"" + key + "\": log is " + log->type_name() + "; expected true or false");
  }
  const auto is_whole = [&](const char* name) { return std::holds_alternative<int64_t>(written.find(name)->data); };
  ValueRange range{end_of(written, "min", key), end_of(written, "max", key),
                   log != nullptr && std::get<bool>(log->data), false};
  range.whole = is_whole("min") && is_whole("max");
  if (!(range.min < range.max) || !std::isfinite(range.max - range.min) || (range.log && range.min <= 0)) {
    throw wrong(written.origin, "sweep.\"" + key + "\" is " + written.text() +
                                    "; expected finite numbers, min below max" +
                                    (range.log ? ", and above 0 for log" : ""));
  }
  return {written.origin, {}, key, range};
}

Axis list_axis(const std::string& key, const Value& list, bool searched) {
  if (is_range(list)) {
    if (!searched) {
      throw wrong(list.origin, "sweep.\"" + key +
                                   "\" is a range; expected a list of values, or [sweep.search], which draws "
                                   "from ranges");
    }
    return range_axis(key, list);
  }
  Axis axis{list.origin, {}, key};
  for (const Value& item : list_at(list, "sweep.\"" + key + "\"")) {
    axis.places.push_back(place_of(key, item));
  }
  return axis;
}

Axis zip_axis(const Value& table) {
  Axis axis{table.origin, {}, "zip"};
  size_t length = 0;
  for (const auto& [key, value] : table.table()) {
    const Array& values = list_at(value, "sweep.zip.\"" + key + "\"");
    if (length != 0 && values.size() != length) {
      throw wrong(value.origin, "sweep.zip: \"" + key + "\" has " + std::to_string(values.size()) +
                                    " values, the list before it " + std::to_string(length) +
                                    "; expected equal lengths");
    }
    length = values.size();
    axis.places.resize(length);
    for (size_t i = 0; i < length; ++i) {
      const Assignments place = place_of(key, values[i]);
      axis.places[i].insert(axis.places[i].end(), place.begin(), place.end());
    }
  }
  if (length == 0) {
    throw wrong(table.origin, "sweep.zip is an empty table; expected lists of equal length");
  }
  return axis;
}

}  // namespace

bool is_sweep_word(const std::string& key) { return std::find(words.begin(), words.end(), key) != words.end(); }

bool is_tune_word(const std::string& key) {
  return std::find(tune_words.begin(), tune_words.end(), key) != tune_words.end();
}

Value flat_sweep(const Value& sweep) {
  if (!sweep.is_table()) {
    throw wrong(sweep.origin, "sweep is " + sweep.type_name() + "; expected a table of lists");
  }
  Value out, rest;
  out.origin = rest.origin = sweep.origin;
  for (const auto& [key, value] : sweep.table()) {
    if (is_sweep_word(key)) {
      out[key] = key == "seeds" || key == "search" ? value : key == "tune" ? flat_tune(value) : flat_tables(value);
      continue;
    }
    Value one = flat(Value{Table{{key, value}}, value.origin});
    for (auto& [path, list] : one.table()) {
      if (out.find(path) != nullptr) {
        throw wrong(list.origin, "sweep: \"" + path + "\" is swept twice");
      }
      out[path] = list;
    }
  }
  return out;
}

int64_t count_cells(const std::vector<Axis>& axes) {
  int64_t cells = 1;
  for (const Axis& axis : axes) {
    cells = std::min(most_cells + 1, cells * static_cast<int64_t>(axis.places.size()));
  }
  return cells;
}

std::vector<Axis> axes_of(const Value& sweep) {
  std::vector<Axis> axes, last;
  for (const auto& [key, value] : sweep.table()) {
    if (key == "seeds") {
      last.push_back(seeds_axis(value));
    } else if (key == "zip") {
      for (const Value& table : tables_at(value, "sweep.zip")) {
        axes.push_back(zip_axis(table));
      }
    } else if (key == "cells") {
      Axis axis{value.origin, {}, "cells"};
      for (const Value& table : tables_at(value, "sweep.cells")) {
        axis.places.emplace_back(table.table());
      }
      axes.push_back(std::move(axis));
    } else if (key != "exclude" && key != "tune" && key != "search") {
      if (split_key(key).size() < 2) {
        throw wrong(
            value.origin,
            "sweep." + key + " is no key to sweep" + did_you_mean(key, words) +
                "; expected a dotted key such as \"loss.type\", or one of zip, cells, exclude, seeds, tune, search");
      }
      axes.push_back(list_axis(key, value, sweep.find("search") != nullptr));
    }
  }
  axes.insert(axes.end(), last.begin(), last.end());
  return axes;
}

bool is_of_seeds(const Axis& axis) { return axis.key == "run.seed" && !axis.range; }

std::set<std::string> keys_of(const std::vector<Axis>& axes) {
  std::set<std::string> swept;
  for (const Axis& axis : axes) {
    std::set<std::string> own;
    if (axis.range) {
      own.insert(axis.key);
    }
    for (const Assignments& place : axis.places) {
      for (const auto& [key, value] : place) {
        own.insert(key);
      }
    }
    for (const std::string& key : own) {
      if (!swept.insert(key).second) {
        throw wrong(axis.origin, "sweep: \"" + key + "\" is swept twice");
      }
    }
  }
  return swept;
}

std::vector<Assignments> exclusions_of(const Value& sweep, const std::set<std::string>& swept) {
  std::vector<Assignments> out;
  if (const Value* exclude = sweep.find("exclude")) {
    for (const Value& table : tables_at(*exclude, "sweep.exclude")) {
      out.emplace_back(table.table());
      for (const auto& [key, value] : out.back()) {
        if (!swept.contains(key)) {
          throw wrong(value.origin,
                      "sweep.exclude: \"" + key + "\" is not swept" + did_you_mean(key, {swept.begin(), swept.end()}));
        }
      }
    }
  }
  return out;
}

}  // namespace retort
