/// results.csv and progress.csv of a sweep.
#pragma once

#include <string>

#include "io/json.h"

namespace retort {

/// One field, quoted where it has to be, as RFC 4180 says. Null is an empty field.
std::string csv_field(const Json& value);

/// A row of each cell and sampler, those of unfinished cells too, so that nothing is missing silently. `list` is
/// "students" or "progress".
std::string csv_table(const Json& results, const char* list);

}  // namespace retort
