#include "config/old_keys.h"

#include <set>
#include <utility>

#include "log.h"
#include "retort/error.h"

namespace retort {

namespace {

constexpr std::pair<const char*, const char*> renamed[] = {
    {"train.schedule", "train.lr_schedule"},
    {"train.accumulate", "train.gradient_accumulation"},
    {"train.clip", "train.max_grad_norm"},
};

}  // namespace

std::span<const std::pair<const char*, const char*>> old_keys() { return renamed; }

std::string present_key(const std::string& key, const Origin& at) {
  for (const auto& [old, present] : renamed) {
    if (key == old) {
      static std::set<std::string> warned;
      const std::string where = at.file.empty() ? "" : to_string(at) + ": ";
      if (warned.insert(where + old).second) {
        log::warn(where + old + " is called " + present + " now; the old name works still");
      }
      return present;
    }
  }
  return key;
}

void rename_old_keys(Value& table, const std::string& path) {
  for (auto& [key, value] : table.table()) {
    const std::string whole = path.empty() ? key : path + "." + key;
    if (value.is_table()) {
      rename_old_keys(value, whole);
      continue;
    }
    const std::string present = present_key(whole, value.origin);
    if (present == whole) {
      continue;
    }
    const std::string name = present.substr(path.size() + 1);
    if (table.find(name) != nullptr) {
      throw RequestError(to_string(value.origin) + ": " + whole + ": is the old name of " + present +
                         ", which is given too; leave out one of them");
    }
    key = name;
  }
}

}  // namespace retort
