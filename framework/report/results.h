/// The results of a run or sweep, as its reports read them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"

namespace retort {

/// results.json of a run's folder. Whatever it lacks is there and empty: "config" with "report", "evaluate" and "run",
/// "teacher" with "metrics", "students" and "progress" whose rows have "metrics", "cells", "plugins". Throws
/// RequestError where there is no such file, or it is damaged.
Json read_results(const std::filesystem::path& folder);

struct Columns {
  std::vector<std::string> shown;    // the configuration's choice, or all metrics that were measured, in order
  std::vector<std::string> missing;  // what the configuration's report names, but was not measured
};
Columns columns_of(const Json& results);

}  // namespace retort
