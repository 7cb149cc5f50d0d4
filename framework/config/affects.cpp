#include "config/affects.h"

#include <utility>

#include "config/keys.h"
#include "config/tables.h"

namespace retort {

namespace {

// Keys that affect something else than their table does (config/tables.cpp). Where a change is safe to overlook, it
// must stand here, or there.
constexpr std::pair<const char*, Affects> known[] = {
    {"run.name", Affects::presentation},
    {"run.output", Affects::nothing},
    {"run.cache", Affects::nothing},
    {"backend.threads", Affects::rounding},
    {"backend.teacher.threads", Affects::rounding},
    {"backend.student.threads", Affects::rounding},
    {"student.base", Affects::nothing},  // where a file is that is known by its content
    {"student.adapter_scale", Affects::evaluation},
    {"train.gradient_checkpointing", Affects::rounding},
    {"train.log_every", Affects::nothing},
    {"train.save_every", Affects::nothing},
    {"evaluate.weights", Affects::training},  // checkpoints hold these weights
};

}  // namespace

Affects affects(const std::string& key) {
  for (const auto& [prefix, what] : known) {
    if (within(key, prefix)) {
      return what;
    }
  }
  const TableInfo* table = find_table(key.substr(0, key.find('.')));
  return table != nullptr ? table->affects : Affects::training;
}

}  // namespace retort
