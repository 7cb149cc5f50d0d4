/// Parts that stay the same from one cell of a sweep to the next. Who looks at a thousand cells builds each part once:
/// equal tables, met by an equal host, make equal parts.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "retort/value.h"

namespace retort {

class PartsMemo {
 public:
  /// What is built of a table, and what an experiment learns as it builds it.
  struct Part {
    std::string key;
    std::shared_ptr<void> made;
    std::optional<Value> resolved;
    std::vector<std::string> paths, notes;
    std::set<std::string> used;                 // plugins
    std::map<std::string, std::string> models;  // configurations, to the checkpoints made of them
    std::string checkpoint;                     // the last one that was read
    bool automatic = false;                     // whether a backend was chosen by the program
  };

  /// The part of a table, where the last one kept of it has this key; or nullptr.
  const Part* find(const std::string& table, const std::string& key) const;
  const Part& keep(const std::string& table, Part part);

 private:
  std::map<std::string, Part> last_;  // one of each table: two large teachers may not fit into the memory
};

/// Equal for values that a part cannot tell apart: their texts, the files that their paths count from, and which of
/// them are left over.
std::string identity_of(const Value& value);

}  // namespace retort
