/// What is installed, chosen, missing or slow, and what mends it: `retort doctor`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "help/catalog.h"
#include "io/json.h"

namespace retort {

struct Finding {
  enum class State {
    ok,
    note,     // works, and there is something to know
    missing,  // something that not every run needs
    wrong,    // no run is possible
  };
  std::string name;
  State state = State::ok;
  std::string found;
  std::string mend = "";  // a command, or what to do
};

/// Looks at everything, changes and builds nothing. `store` is the folder of what runs share.
std::vector<Finding> examine(const Catalog& catalog, const std::filesystem::path& store);

bool runs_are_possible(const std::vector<Finding>& findings);
Json to_json(const std::vector<Finding>& findings);
std::string to_text(const std::vector<Finding>& findings);

}  // namespace retort
