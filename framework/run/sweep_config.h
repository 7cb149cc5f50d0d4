/// The configuration that a sweep's folder keeps: enough to run it again.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sweep/cells.h"

namespace retort {

class SweepConfig {
 public:
  /// Of each table whose plugin is swept, learns the keys of a cell's plugin, so that one configuration holds them all.
  void note(const Cell& cell, const Value& resolved);
  /// The first cell's configuration, which has what is not swept.
  void set_first(Value resolved) { first_ = std::move(resolved); }
  Value whole(const std::vector<Cell>& cells, const Value& sweep) const;

 private:
  void unset(Value& config, const std::string& key) const;

  Value first_;
  std::map<std::string, std::map<std::string, Value>> parts_;  // table to plugin to its keys
};

}  // namespace retort
