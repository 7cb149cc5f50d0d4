/// results.csv and progress.csv of a sweep.
#pragma once

#include <string>
#include <vector>

#include "results/row.h"

namespace retort {

/// One field, quoted where it has to be, as RFC 4180 says. Null is an empty field.
std::string csv_field(const Json& value);

/// A row of each cell and sampler, those of unfinished cells too, so that nothing is missing silently. `cells` is a
/// list of {"name", "status", "values"}, `evaluate` the configuration's table.
std::string csv_table(const std::vector<Row>& rows, const Json& cells, const Json& evaluate);

}  // namespace retort
