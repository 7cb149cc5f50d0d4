#include "run/sweep_config.h"

#include <set>

#include "config/toml.h"

namespace retort {

void SweepConfig::note(const Cell& cell, const Value& resolved) {
  Table all = cell.values.table();
  all.insert(all.end(), cell.chosen.table().begin(), cell.chosen.table().end());
  for (const auto& [key, value] : all) {
    if (!key.ends_with(".type")) {
      continue;
    }
    const std::string table = key.substr(0, key.size() - 5);
    if (const Value* own = at_path(resolved, table)) {
      Value keys = *own;
      keys.erase("type");
      parts_[table].try_emplace(std::get<std::string>(own->find("type")->data), keys);
    }
  }
}

Value SweepConfig::whole(const std::vector<Cell>& cells, const Value& sweep) const {
  Value config = first_;
  for (const auto& [table, types] : parts_) {
    Value joined;
    joined["type"] = *at_path(config, table + ".type");
    for (const auto& [type, keys] : types) {
      joined[type] = keys;
    }
    set_path(config, table, joined);
  }
  std::set<std::string> swept;  // [sweep] says these
  for (const Cell& cell : cells) {
    for (const auto& [key, value] : cell.values.table()) {
      swept.insert(key);
    }
    for (const auto& [key, value] : cell.chosen.table()) {
      swept.insert(key);
    }
  }
  for (const std::string& key : swept) {
    unset(config, key);
  }
  config["sweep"] = sweep;
  return config;
}

void SweepConfig::unset(Value& config, const std::string& key) const {
  const size_t dot = key.rfind('.');
  Value* table = dot == std::string::npos ? nullptr : at_path(config, key.substr(0, dot));
  if (table == nullptr || !table->is_table()) {
    return;
  }
  table->erase(key.substr(dot + 1));
  for (auto& [name, inner] : table->table()) {
    if (inner.is_table() && parts_.contains(key.substr(0, dot))) {
      inner.erase(key.substr(dot + 1));
    }
  }
}

}  // namespace retort
