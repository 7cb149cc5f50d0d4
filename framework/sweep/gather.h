/// The results of all cells together: results.json, results.csv and progress.csv of a sweep.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/json.h"
#include "results/row.h"
#include "sweep/cells.h"

namespace retort {

/// What each cell left in its folder, as the results of the whole; null where no cell has results. Cells without are
/// listed with their state: "failed" (with the reason), "running" or "open". `report` is {"name", "report"}, as the
/// configuration has them now. Without `statistics` it lacks the means and differences, which take the most time.
Json gathered(const std::vector<Cell>& cells, const std::vector<std::filesystem::path>& folders, const Json& report,
              const Json& sweep, bool statistics = true);
/// The same, written to a folder. Throws Error where no cell has results.
void gather(const std::vector<Cell>& cells, const std::vector<std::filesystem::path>& folders,
            const std::filesystem::path& output, const Json& report, const Json& sweep);

/// The swept key whose values are compared: the one that `report`, the table [report], names, or the first. Throws
/// RequestError for one that is not swept.
std::string compared_key(const Json& report, const std::vector<Cell>& cells);

/// Gives the results of a run without [sweep] the name and report settings that its configuration has now.
void present(const std::filesystem::path& folder, const Json& report);

/// "ode_error 0.0349, fd 10.4": of a cell's last row.
std::string summary(const std::filesystem::path& folder);

/// Means over seeds and paired differences of a sweep's rows: {"compare", "groups", "differences"}. A group is what
/// differs in the seed alone; a difference is between two values of the compared key, all else equal, seed by seed.
/// Each says of how many seeds ("n") and how many there should be ("of"), which `cells`, a list of {"values"}, tells;
/// where some are missing, no order is claimed.
Json statistics_of(const std::vector<Row>& rows, const std::string& compare, const Json& cells = Json::array());

}  // namespace retort
