#include "sweep/tuning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "config/layers.h"
#include "config/toml.h"
#include "io/json_file.h"
#include "retort/error.h"
#include "sweep/axes.h"
#include "sweep/judge.h"

namespace retort {

namespace {

constexpr const char* table_name = "tune";

RequestError wrong(const Value& at, const std::string& what) {
  return RequestError(to_string(at.origin) + ": " + what);
}

const Value* tune_table(const Value& config) {
  const Value* sweep = config.find("sweep");
  return sweep != nullptr ? sweep->find(table_name) : nullptr;
}

// What is chosen, as lists by dotted key.
Value lists_of(const Value& tune) {
  Value rest = tune;
  std::erase_if(rest.table(), [](const auto& entry) { return is_tune_word(entry.first); });
  Value out = flat_sweep(rest);
  for (const auto& [key, value] : out.table()) {
    if (is_sweep_word(key)) {
      throw wrong(value, "sweep.tune." + key + " is not for what is chosen; expected lists by dotted key");
    }
  }
  return out;
}

std::set<std::string> seeds_of(const Value& sweep, const Value& config) {
  Value alone;
  alone.origin = sweep.origin;
  std::set<std::string> out;
  if (const Value* seeds = sweep.find("seeds")) {
    alone["seeds"] = *seeds;
    const std::vector<Axis> axes = axes_of(alone);
    for (const Assignments& place : axes.at(0).places) {
      out.insert(place.at(0).second.text());
    }
    return out;
  }
  const Value* seed = at_path(config, "run.seed");
  return {seed != nullptr ? seed->text() : "0"};
}

// A cell's settings but its seed and the choices.
std::string kind_of(const Cell& cell, const std::vector<std::string>& without) {
  Value values = cell.values;
  values.erase("run.seed");
  for (const std::string& key : without) {
    values.erase(key);
  }
  return values.text();
}

}  // namespace

std::optional<Tuning> tuning_of(const Value& config) {
  const Value* tune = tune_table(config);
  if (tune == nullptr) {
    return std::nullopt;
  }
  if (!tune->is_table()) {
    throw wrong(*tune, "sweep.tune is " + tune->type_name() + "; expected a table");
  }
  Tuning out;
  const Value* by = tune->find("by");
  const std::string* name = by != nullptr ? std::get_if<std::string>(&by->data) : nullptr;
  if (name == nullptr || name->empty()) {
    throw wrong(by != nullptr ? *by : *tune, "sweep.tune.by is missing; expected the metric whose smallest mean wins");
  }
  out.by = *name;
  if (const Value* steps = tune->find("student_steps")) {
    const int64_t* number = std::get_if<int64_t>(&steps->data);
    if (number == nullptr || *number < 0) {
      throw wrong(*steps, "sweep.tune.student_steps is " + steps->text() + "; expected a number of steps");
    }
    out.student_steps = *number;
  }
  const std::set<std::string> keys = keys_of(axes_of(lists_of(*tune)));  // a type may bring others with it
  out.keys.assign(keys.begin(), keys.end());
  if (out.keys.empty()) {
    throw wrong(*tune, "sweep.tune chooses nothing; expected lists of values, such as \"train.learning_rate\" = […]");
  }
  if (tune->find("seeds") == nullptr) {
    throw wrong(*tune, "sweep.tune.seeds is missing; expected seeds to choose on, none of sweep.seeds");
  }
  const std::set<std::string> confirming = seeds_of(*config.find("sweep"), config);
  for (const std::string& seed : seeds_of(*tune, config)) {
    if (confirming.contains(seed)) {
      throw wrong(*tune->find("seeds"), "sweep.tune.seeds holds " + seed +
                                            ", which is one of sweep.seeds; expected other ones: what is chosen on a "
                                            "seed is not confirmed by it");
    }
  }
  return out;
}

Value confirming(const Value& config) {
  const std::vector<std::string> chosen = tuning_of(config)->keys;
  const auto speaks_of_choices = [&](const Value& exclusion) {
    return exclusion.is_table() && std::any_of(chosen.begin(), chosen.end(),
                                               [&](const std::string& key) { return exclusion.find(key) != nullptr; });
  };
  Value out = config;
  Value sweep = flat_sweep(*config.find("sweep"));
  sweep.erase(table_name);
  if (Value* exclude = sweep.find("exclude")) {
    if (Array* list = std::get_if<Array>(&exclude->data)) {
      std::erase_if(*list, speaks_of_choices);
    }
    const Array* left = std::get_if<Array>(&exclude->data);
    if (speaks_of_choices(*exclude) || (left != nullptr && left->empty())) {
      sweep.erase("exclude");
    }
  }
  out["sweep"] = sweep;
  return out;
}

Value exploring(const Value& config) {
  const Value& tune = *tune_table(config);
  Value out = config;
  Value sweep = flat_sweep(*config.find("sweep"));
  sweep.erase(table_name);
  sweep["seeds"] = *tune.find("seeds");
  const Value lists = lists_of(tune);
  for (const auto& [key, list] : lists.table()) {
    if (sweep.find(key) != nullptr) {
      throw wrong(list, "sweep.tune: \"" + key + "\" is swept already");
    }
    sweep[key] = list;
  }
  out["sweep"] = sweep;
  return out;
}

double judged(const Tuning& tuning, const std::filesystem::path& folder) {
  std::error_code missing;
  const Json results = read_json(folder / "results.json");
  if (!results.is_object() || std::filesystem::exists(folder / "failed.json", missing)) {
    return std::numeric_limits<double>::infinity();
  }
  return judged({tuning.by, tuning.student_steps, "sweep.tune"}, rows_from(json_at(results, "students")));
}

Choices choose(const Tuning& tuning, const std::vector<Cell>& explored,
               const std::vector<std::filesystem::path>& folders) {
  struct Tried {
    Value values;
    double sum = 0;
    int64_t seeds = 0;
  };
  std::map<std::string, std::vector<Tried>> kinds;
  for (size_t i = 0; i < explored.size(); ++i) {
    Tried own;
    for (const std::string& key : tuning.keys) {
      if (const Value* value = explored[i].values.find(key)) {
        own.values[key] = *value;
      }
    }
    std::vector<Tried>& tried = kinds[kind_of(explored[i], tuning.keys)];
    auto place = std::find_if(tried.begin(), tried.end(), [&](const Tried& t) { return t.values == own.values; });
    if (place == tried.end()) {
      place = tried.insert(place, own);
    }
    place->sum += judged(tuning, folders[i]);
    place->seeds += 1;
  }
  Choices out = Json::object();
  for (const auto& [kind, tried] : kinds) {
    double least = std::numeric_limits<double>::infinity();
    out[kind] = nullptr;
    for (const Tried& t : tried) {
      if (const double mean = t.sum / static_cast<double>(t.seeds); mean < least) {
        least = mean;
        out[kind] = to_json(t.values);
      }
    }
  }
  return out;
}

std::vector<std::string> give(const Choices& choices, std::vector<Cell>& cells) {
  std::vector<std::string> lost;
  for (Cell& cell : cells) {
    cell.chosen = {};
    const Json& chosen = json_at(choices, kind_of(cell, {}));
    if (!chosen.is_object()) {
      lost.push_back(cell.name);
      continue;
    }
    const Value values = from_json(chosen, "sweep.tune");
    for (const auto& [key, value] : values.table()) {
      lay(cell.config, key, value);
      cell.chosen[key] = value;
    }
  }
  std::erase_if(cells, [](const Cell& cell) { return cell.chosen.table().empty(); });
  return lost;
}

}  // namespace retort
