/// [sweep] made into cells: configurations that differ in the swept keys alone.
///
///   [sweep]
///   "loss.type" = ["one", "other"]                     lists: their product
///   seeds = 8                                          run.seed = 0 … 7; or a list of seeds
///   zip = [{ "train.steps" = [100, 400], "train.learning_rate" = [1e-4, 2e-5] }]     first with first, second with …
///   cells = [{ "loss.type" = "one", "loss.target" = "ema" }, { "loss.type" = "other" }]
///                                                      one axis whose values are tables
///   exclude = [{ "loss.type" = "other", "solver.type" = "slow" }]      no cell that has all of these
///
/// All of them are axes of one product.
#pragma once

#include <string>
#include <vector>

#include "retort/value.h"

namespace retort {

struct Cell {
  std::string name;  // its swept values joined by "_", for folders and tables; empty where nothing is swept
  Value values;      // swept key to value
  Value config;      // the configuration without [sweep], with these values
};

/// The cells in order, the last axis running fastest and seeds fastest of all. Throws RequestError for whatever is
/// wrong in [sweep].
std::vector<Cell> expand(const Value& config);

/// Takes a key that is given elsewhere out of the sweep, wherever it stands there.
void no_longer_swept(Value& config, const std::string& key);

}  // namespace retort
