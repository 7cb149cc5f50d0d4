#include "io/csv.h"

#include <charconv>
#include <cmath>
#include <sstream>

#include "retort/error.h"

namespace retort {

namespace {

// One number between blanks, perhaps with a plus sign.
bool read_number(const std::string& cell, double& value) {
  const size_t first = cell.find_first_not_of(" \t"), last = cell.find_last_not_of(" \t\r");
  if (first == std::string::npos || last == std::string::npos) {
    return false;
  }
  const char* begin = cell.data() + first;
  const char* end = cell.data() + last + 1;
  if (*begin == '+' && end - begin > 1 && begin[1] != '-') {
    ++begin;
  }
  const auto [rest, error] = std::from_chars(begin, end, value);
  return error == std::errc() && rest == end;
}

// What is shown of a cell in a message: printable, and not much of it.
std::string shown(const std::string& cell) {
  std::string out = cell.substr(0, 40);
  for (char& c : out) {
    c = static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? '?' : c;
  }
  return out;
}

}  // namespace

std::vector<double> parse_csv(std::istream& in, const std::string& name, int64_t columns) {
  std::vector<double> out;
  int64_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    std::stringstream cells(line);
    int64_t count = 0;
    for (std::string cell; std::getline(cells, cell, ',');) {
      double value = 0;
      if (!read_number(cell, value)) {
        throw RequestError(name + ":" + std::to_string(number) + ": '" + shown(cell) + "' is no number");
      }
      if (!std::isfinite(value)) {
        throw RequestError(name + ":" + std::to_string(number) + ": '" + shown(cell) + "' is not finite");
      }
      out.push_back(value);
      ++count;
    }
    if (line.back() == ',') {
      throw RequestError(name + ":" + std::to_string(number) + ": ends in a comma; expected a number behind it");
    }
    if (count != columns) {
      throw RequestError(name + ":" + std::to_string(number) + ": has " + std::to_string(count) +
                         " number(s); expected " + std::to_string(columns));
    }
  }
  return out;
}

}  // namespace retort
