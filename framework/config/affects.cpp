#include "config/affects.h"

#include <utility>

#include "config/keys.h"

namespace retort {

namespace {

// The first line that a key lies within counts. Where a change is safe to overlook, it must stand here.
constexpr std::pair<const char*, Affects> known[] = {
    {"run.name", Affects::presentation},
    {"run.output", Affects::nothing},
    {"run.cache", Affects::nothing},
    {"backend.threads", Affects::rounding},
    {"backend.teacher.threads", Affects::rounding},
    {"backend.student.threads", Affects::rounding},
    {"student.base", Affects::nothing},  // where a file is that is known by its content
    {"train.log_every", Affects::nothing},
    {"train.save_every", Affects::nothing},
    {"evaluate.weights", Affects::training},  // checkpoints hold these weights
    {"evaluate", Affects::evaluation},
    {"metric", Affects::evaluation},
    {"report", Affects::presentation},
    {"plugins", Affects::nothing},  // the libraries themselves count, by their contents
    {"sweep", Affects::nothing},    // its values stand in each cell's own keys
};

}  // namespace

Affects affects(const std::string& key) {
  for (const auto& [prefix, what] : known) {
    if (within(key, prefix)) {
      return what;
    }
  }
  return Affects::training;
}

}  // namespace retort
