#include "sweep/overrides.h"

#include <algorithm>

#include "config/keys.h"
#include "config/layers.h"
#include "config/old_keys.h"
#include "config/toml.h"
#include "retort/error.h"
#include "sweep/axes.h"

namespace retort {

namespace {

bool is_empty(const Value& value) {
  const Array* list = std::get_if<Array>(&value.data);
  return list != nullptr ? list->empty() : value.is_table() && value.table().empty();
}

void erase_within(Value& table, const std::string& key) {
  std::erase_if(table.table(), [&](const auto& entry) { return within(entry.first, key); });
}

// The tables of a list, each with a change; those that it empties, or makes equal to one before, go.
template <class F>
void change_tables(Value& tables, F change) {
  if (tables.is_table()) {
    change(tables);
    return;
  }
  Array* list = std::get_if<Array>(&tables.data);
  if (list == nullptr) {
    return;
  }
  Array kept;
  for (Value& item : *list) {
    const bool was_empty = is_empty(item);
    if (item.is_table()) {
      change(item);
    }
    if ((was_empty || !is_empty(item)) && std::find(kept.begin(), kept.end(), item) == kept.end()) {
      kept.push_back(item);
    }
  }
  *list = std::all_of(kept.begin(), kept.end(), is_empty) ? Array{} : std::move(kept);
}

// An exclusion with this key holds for one value of it. For another value it says nothing.
void narrow_exclusion(Value& exclusion, const std::string& key, const Value& value) {
  const auto speaks_of = std::find_if(exclusion.table().begin(), exclusion.table().end(),
                                      [&](const auto& entry) { return within(entry.first, key); });
  if (speaks_of == exclusion.table().end()) {
    return;
  }
  const Value* now = &value;
  if (speaks_of->first != key) {
    now = value.is_table() ? at_path(value, speaks_of->first.substr(key.size() + 1)) : nullptr;
  }
  if (now != nullptr && (*now == speaks_of->second || now->text() == speaks_of->second.text())) {
    exclusion.table().erase(speaks_of);
  } else {
    exclusion.table().clear();
  }
}

// "solver.type" = ["one", { type = "other", order = 3 }], from which solver.order is taken out.
void erase_beside_types(Value& list, const std::string& swept, const std::string& key) {
  const std::string table = swept.substr(0, swept.size() - 5);  // less ".type"
  if (!swept.ends_with(".type") || key.size() <= table.size() || !within(key, table)) {
    return;
  }
  change_tables(list, [&](Value& place) {
    erase_within(place, key.substr(table.size() + 1));
    if (place.table().size() == 1 && place.find("type") != nullptr) {
      const Value type = *place.find("type");
      place = type;
    }
  });
}

// sweep.KEY = value: in whatever way the key is spelled, here and in the file.
void lay_in_sweep(Value& config, const std::vector<std::string>& parts, const Value& value) {
  Value sweep = flat_sweep(config.find("sweep") != nullptr ? *config.find("sweep") : Value{});
  std::vector<std::string> inner;
  for (size_t i = 1; i < parts.size(); ++i) {
    const std::vector<std::string> more = split_key(parts[i]);
    inner.insert(inner.end(), more.begin(), more.end());
  }
  const std::string key = present_key(join_key(inner), {});
  const Value* table = inner.empty() ? nullptr : sweep.find(inner[0]);
  const bool searching = !inner.empty() && inner[0] == "search";
  if (inner.size() > 1 && (searching || (inner[0] == "tune" && table != nullptr && table->is_table()))) {
    Value& whole = sweep[inner[0]];
    if (!whole.is_table()) {  // search = "random"
      whole = {Table{{"type", whole}}, whole.origin};
    }
    whole[join_key({inner.begin() + 1, inner.end()})] = value;
    config["sweep"] = std::move(sweep);
    return;
  }
  if (inner.size() > 1 && is_sweep_word(inner[0])) {
    throw RequestError("sweep." + key + ": sweep." + inner[0] + " is given as a whole; expected sweep." + inner[0] +
                       "=[…]");
  }
  if (key == "seeds" || key == "run.seed") {  // one axis by two names
    sweep.erase("seeds");
    sweep.erase("run.seed");
  }
  sweep[key] = value;
  config["sweep"] = std::move(sweep);
}

}  // namespace

void no_longer_swept(Value& config, const std::string& key, const Value& value) {
  if (config.find("sweep") == nullptr) {
    return;
  }
  Value sweep = flat_sweep(*config.find("sweep"));
  if (within("run.seed", key)) {
    sweep.erase("seeds");
  }
  erase_within(sweep, key);
  for (auto& [swept, list] : sweep.table()) {
    if (swept == "zip" || swept == "cells") {
      change_tables(list, [&](Value& table) { erase_within(table, key); });
    } else if (swept == "tune" && list.is_table()) {
      erase_within(list, key);
      if (std::all_of(list.table().begin(), list.table().end(), [](const auto& e) { return is_tune_word(e.first); })) {
        list.table().clear();  // nothing is left to choose
      }
    } else if (swept == "exclude") {
      change_tables(list, [&](Value& table) { narrow_exclusion(table, key, value); });
    } else {
      erase_beside_types(list, swept, key);
    }
  }
  std::erase_if(sweep.table(), [](const auto& entry) { return entry.first != "seeds" && is_empty(entry.second); });
  if (sweep.table().empty()) {
    config.erase("sweep");
  } else {
    config["sweep"] = std::move(sweep);
  }
}

void apply_overrides(Value& config, const std::vector<std::string>& assignments) {
  std::vector<Override> given;
  for (const std::string& assignment : assignments) {
    given.push_back(read_override(assignment));
  }
  std::stable_partition(given.begin(), given.end(), [](const Override& o) { return o.key.ends_with(".type"); });
  for (const Override& o : given) {
    const std::vector<std::string> parts = split_key(o.key);
    if (parts[0] == "sweep" && parts.size() > 1) {
      lay_in_sweep(config, parts, o.value);
    } else {
      lay(config, o.key, o.value);
      no_longer_swept(config, o.key, o.value);
    }
  }
}

}  // namespace retort
