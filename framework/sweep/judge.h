/// The number by which a search or a tuning chooses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/row.h"

namespace retort {

struct Judge {
  std::string by;                        // a metric
  std::optional<int64_t> student_steps;  // of the sampler that counts; nothing: all do
  std::string table;                     // whose keys these are, for errors: "sweep.tune"
};

/// What rows of one point of a training are judged by, less averages of other lengths: the mean over samplers, or that
/// of so many steps, or of the most steps that are fewer. Infinite where a number is none. Throws RequestError where no
/// row has such a metric, or such a sampler.
double judged(const Judge& judge, const std::vector<Row>& rows);

}  // namespace retort
