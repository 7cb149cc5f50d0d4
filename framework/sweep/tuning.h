/// [sweep.tune]: settings that each cell of a sweep takes at their best, which is found on seeds of its own.
///
///   [sweep]
///   "loss.type" = ["one", "other"]
///   seeds = [10, 11, 12, 13, 14]                  what is confirmed
///   [sweep.tune]
///   "train.learning_rate" = [3e-4, 1e-3, 3e-3]    what is chosen; several lists: all their combinations
///   seeds = [0, 1]                                what it is chosen on; none of those that confirm
///   by = "some_metric"                            the smallest mean wins
///   student_steps = 1                             of which sampler; left out: the mean over evaluate.student_steps
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "sweep/cells.h"

namespace retort {

struct Tuning {
  std::string by;                        // a metric
  std::optional<int64_t> student_steps;  // of the sampler that counts; nothing: all do
  std::vector<std::string> keys;         // what is chosen
};

/// What [sweep.tune] asks for; nothing where it is not there. Throws RequestError for whatever is wrong in it.
std::optional<Tuning> tuning_of(const Value& config);

/// The sweep that explores: every cell's settings, each with every choice, on the seeds that explore.
Value exploring(const Value& config);
/// The sweep that confirms, without its choices: [sweep] less [sweep.tune], and less exclusions of what is chosen.
Value confirming(const Value& config);

/// The number that a cell is judged by, at the end of training (sweep/judge.h). Infinite for a cell that failed.
double judged(const Tuning& tuning, const std::filesystem::path& folder);

/// What was chosen for each kind of cell, which is its settings less the seed: the choice of the smallest mean, of
/// equal ones the first. Null where no choice gave a number on every seed.
using Choices = Json;
Choices choose(const Tuning& tuning, const std::vector<Cell>& explored,
               const std::vector<std::filesystem::path>& folders);

/// Gives each cell what was chosen for its kind. Cells without a choice are taken out, and their names returned.
std::vector<std::string> give(const Choices& choices, std::vector<Cell>& cells);

}  // namespace retort
