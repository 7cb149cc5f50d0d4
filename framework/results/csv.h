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

struct CsvRow {
  std::string status;  // of the cell; only "done" ones have all columns
  Row row;             // less its loss, series and samples, which a CSV does not hold; metrics without a number are NaN
};
/// Reads such a table back. A swept text that spells a JSON value is read as this value. Throws RequestError where it
/// is none.
std::vector<CsvRow> read_csv_table(const std::string& text);

}  // namespace retort
