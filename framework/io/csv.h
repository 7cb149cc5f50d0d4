/// Numbers in CSV: a sample a line, as many numbers in each.
#pragma once

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

namespace retort {

/// The numbers of all lines, one after another; empty lines are passed over. Throws RequestError with `name` and the
/// line where one has not `columns` numbers, or something else than finite numbers.
std::vector<double> parse_csv(std::istream& in, const std::string& name, int64_t columns);

}  // namespace retort
