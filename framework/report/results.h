/// The results of a run or sweep, as its reports read them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"
#include "results/row.h"

namespace retort {

/// results.json of a run's folder, as it is. Throws RequestError where there is no such file, or it is damaged.
Json load_results(const std::filesystem::path& folder);

/// results.json of a run's folder. Whatever it lacks is there and empty: "config" with "report", "evaluate" and "run",
/// "teacher" with "metrics", "cells", "plugins". Throws RequestError where there is no such file, or it is damaged.
struct Results {
  Json json;                            // all but what follows
  std::vector<Row> students, progress;  // `progress` is `students` where the file has none
};
Results read_results(const std::filesystem::path& folder);
/// The same of such a file's content.
Results results_of(Json json);

struct ShownMetrics {
  std::vector<std::string> shown;    // the configuration's choice, or all metrics that were measured, in order
  std::vector<std::string> missing;  // what the configuration's report names, but was not measured
};
ShownMetrics shown_metrics(const Results& results);

}  // namespace retort
