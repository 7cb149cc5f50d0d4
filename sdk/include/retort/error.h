/// The one exception of the project. It is thrown where the knowledge is and caught once, in `main`.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "retort/export.h"

namespace retort {

/// A run that failed: exit code 1. The message is one line that names what failed and where.
class RETORT_API Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~Error() override;
};

/// A request that cannot be right (a wrong key, type, value, name or file): exit code 2.
class RETORT_API RequestError : public Error {
 public:
  using Error::Error;
  ~RequestError() override;
};

/// "; did you mean 'x'?" for the candidate nearest to `word` (Damerau-Levenshtein), or "" where none is near.
RETORT_API std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace retort
