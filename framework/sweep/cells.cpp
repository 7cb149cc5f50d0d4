#include "sweep/cells.h"

#include <algorithm>
#include <set>

#include "config/toml.h"
#include "retort/error.h"

namespace retort {

namespace {

using Assignments = std::vector<std::pair<std::string, Value>>;  // key to value: what one place on an axis sets

struct Axis {
  Value origin;
  std::vector<Assignments> places;
};

const std::vector<std::string> words = {"zip", "cells", "exclude", "seeds"};

RequestError wrong(const Value& at, const std::string& what) {
  return RequestError(to_string(at.origin) + ": " + what);
}

const Array& list_at(const Value& value, const std::string& name) {
  const Array* values = std::get_if<Array>(&value.data);
  if (values == nullptr || values->empty()) {
    throw wrong(value, name + " is " + (values == nullptr ? value.type_name() : "an empty list") +
                           "; expected a list of values, and a quoted dotted key such as \"loss.type\"");
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
      throw wrong(value, name + " holds " + item.type_name() + "; expected tables, such as { \"loss.type\" = … }");
    }
    out.push_back(item);
  }
  return out;
}

// Keys are quoted and dotted; written without quotes, TOML makes them tables within tables.
void flatten(const Value& table, const std::string& prefix, Assignments& out) {
  for (const auto& [key, value] : table.table()) {
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    if (value.is_table() && !value.table().empty()) {
      flatten(value, path, out);
    } else {
      out.emplace_back(path, value);
    }
  }
}

Assignments assignments(const Value& table) {
  Assignments out;
  flatten(table, "", out);
  return out;
}

Axis seeds_axis(const Value& value) {
  Axis axis{value, {}};
  if (const int64_t* count = std::get_if<int64_t>(&value.data)) {
    if (*count < 1) {
      throw wrong(value, "sweep.seeds = " + std::to_string(*count) + "; expected at least 1, or a list of seeds");
    }
    for (int64_t seed = 0; seed < *count; ++seed) {
      axis.places.push_back({{"run.seed", Value{seed, value.origin}}});
    }
    return axis;
  }
  for (const Value& seed : list_at(value, "sweep.seeds")) {
    if (!std::holds_alternative<int64_t>(seed.data)) {
      throw wrong(value, "sweep.seeds holds " + seed.type_name() + "; expected integers");
    }
    axis.places.push_back({{"run.seed", seed}});
  }
  return axis;
}

Axis zip_axis(const Value& table) {
  Axis axis{table, {}};
  size_t length = 0;
  for (const auto& [key, value] : assignments(table)) {
    const Array& values = list_at(value, "sweep.zip.\"" + key + "\"");
    if (length != 0 && values.size() != length) {
      throw wrong(value, "sweep.zip: \"" + key + "\" has " + std::to_string(values.size()) +
                             " values, the list before it " + std::to_string(length) + "; expected equal lengths");
    }
    length = values.size();
    axis.places.resize(length);
    for (size_t i = 0; i < length; ++i) {
      axis.places[i].emplace_back(key, values[i]);
    }
  }
  if (length == 0) {
    throw wrong(table, "sweep.zip is an empty table; expected lists of equal length");
  }
  return axis;
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
      Axis axis{value, {}};
      for (const Value& table : tables_at(value, "sweep.cells")) {
        axis.places.push_back(assignments(table));
      }
      axes.push_back(std::move(axis));
    } else if (key != "exclude") {
      if (value.is_table()) {  // loss.type = […] without quotes
        for (const auto& [inner, list] : assignments(Value{Table{{key, value}}, value.origin})) {
          Axis axis{list, {}};
          for (const Value& item : list_at(list, "sweep.\"" + inner + "\"")) {
            axis.places.push_back({{inner, item}});
          }
          axes.push_back(std::move(axis));
        }
        continue;
      }
      if (key.find('.') == std::string::npos) {
        throw wrong(value,
                    "sweep." + key + " is no key to sweep" + did_you_mean(key, words) +
                        "; expected a quoted dotted key such as \"loss.type\", or one of zip, cells, exclude, seeds");
      }
      Axis axis{value, {}};
      for (const Value& item : list_at(value, "sweep.\"" + key + "\"")) {
        axis.places.push_back({{key, item}});
      }
      axes.push_back(std::move(axis));
    }
  }
  axes.insert(axes.end(), last.begin(), last.end());
  return axes;
}

std::string plain(const Value& value) {
  std::string text = std::holds_alternative<std::string>(value.data) ? std::get<std::string>(value.data) : value.text();
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '/' || c == ' ' || c == '"' || c == '\''; }, '-');
  return text.substr(0, 60);
}

// A word as it is, but "steps=400": words speak for themselves, numbers do not.
std::string name_of(const Value& values) {
  std::string out;
  for (const auto& [key, value] : values.table()) {
    const std::string last = key.substr(key.rfind('.') + 1);
    const bool word = std::holds_alternative<std::string>(value.data) && !std::get<std::string>(value.data).empty();
    out += (out.empty() ? "" : "_") + (word ? plain(value) : last + "=" + plain(value));
  }
  constexpr size_t longest = 180;  // a file name's limit is 255 bytes
  if (out.size() > longest) {
    out = out.substr(0, longest) + "~" + std::to_string(std::hash<std::string>()(out) % 100000);
  }
  return out;
}

bool matches(const Assignments& exclusion, const Value& values) {
  return std::all_of(exclusion.begin(), exclusion.end(), [&](const auto& wanted) {
    const Value* value = values.find(wanted.first);
    return value != nullptr && (*value == wanted.second || value->text() == wanted.second.text());
  });
}

std::vector<Assignments> exclusions_of(const Value& sweep, const std::set<std::string>& swept) {
  std::vector<Assignments> out;
  if (const Value* exclude = sweep.find("exclude")) {
    for (const Value& table : tables_at(*exclude, "sweep.exclude")) {
      out.push_back(assignments(table));
      for (const auto& [key, value] : out.back()) {
        if (!swept.contains(key)) {
          throw wrong(value,
                      "sweep.exclude: \"" + key + "\" is not swept" + did_you_mean(key, {swept.begin(), swept.end()}));
        }
      }
    }
  }
  return out;
}

}  // namespace

std::vector<Cell> expand(const Value& config) {
  const Value* sweep = config.find("sweep");
  std::vector<Cell> cells(1);
  cells[0].config = config;
  cells[0].config.erase("sweep");
  if (sweep == nullptr) {
    return cells;
  }
  if (!sweep->is_table()) {
    throw wrong(*sweep, "sweep is " + sweep->type_name() + "; expected a table of lists");
  }
  const std::vector<Axis> axes = axes_of(*sweep);
  std::set<std::string> swept;
  for (const Axis& axis : axes) {
    std::set<std::string> own;
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
  for (const Axis& axis : axes) {
    std::vector<Cell> next;
    for (const Cell& cell : cells) {
      for (const Assignments& place : axis.places) {
        Cell more = cell;
        for (const auto& [key, value] : place) {
          more.values[key] = value;
          set_path(more.config, key, value);
        }
        next.push_back(std::move(more));
      }
    }
    cells = std::move(next);
  }
  const std::vector<Assignments> exclusions = exclusions_of(*sweep, swept);
  std::erase_if(cells, [&](const Cell& cell) {
    return std::any_of(exclusions.begin(), exclusions.end(), [&](const auto& e) { return matches(e, cell.values); });
  });
  if (cells.empty()) {
    throw wrong(*sweep, "sweep.exclude leaves no cell");
  }
  std::set<std::string> names;
  for (Cell& cell : cells) {
    cell.name = name_of(cell.values);
    if (!names.insert(cell.name).second) {
      throw wrong(*sweep, "sweep: two cells are the same, '" + cell.name + "'; each should be there once");
    }
  }
  return cells;
}

void no_longer_swept(Value& config, const std::string& key) {
  Value* sweep = config.find("sweep");
  if (sweep == nullptr || !sweep->is_table()) {
    return;
  }
  sweep->erase(key == "run.seed" ? "seeds" : key);
  sweep->erase(key);
  for (const char* word : {"zip", "cells", "exclude"}) {
    Value* groups = sweep->find(word);
    if (groups == nullptr) {
      continue;
    }
    if (groups->is_table()) {
      groups->erase(key);
    } else if (Array* list = std::get_if<Array>(&groups->data)) {
      for (Value& table : *list) {
        if (table.is_table()) {
          table.erase(key);
        }
      }
      // A group that held nothing else is gone; equal places of `cells` are one.
      Array kept;
      for (const Value& table : *list) {
        if (!(table.is_table() && table.table().empty()) && std::find(kept.begin(), kept.end(), table) == kept.end()) {
          kept.push_back(table);
        }
      }
      *list = kept;
    }
    if ((groups->is_table() && groups->table().empty()) ||
        (std::holds_alternative<Array>(groups->data) && std::get<Array>(groups->data).empty())) {
      sweep->erase(word);
    }
  }
  if (sweep->table().empty()) {
    config.erase("sweep");
  }
}

}  // namespace retort
