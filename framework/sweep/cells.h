/// [sweep] (sweep/axes.h) made into cells: configurations that differ in the swept keys alone.
#pragma once

#include <string>
#include <vector>

#include "retort/value.h"
#include "sweep/axes.h"

namespace retort {

struct Cell {
  std::string name;   // its swept values joined by "_", for folders and tables; empty where nothing is swept
  Value values;       // swept key to value
  Value config;       // the configuration without [sweep], with these values
  Value chosen = {};  // what [sweep.tune] found best for it, which `config` has too
};

/// The cells in order, the last axis running fastest and seeds fastest of all; of a search those of its draws, and of
/// `told` (sweep/told.h). Throws RequestError for whatever is wrong in [sweep].
std::vector<Cell> expand(const Value& config, const std::vector<Assignments>& told = {});

}  // namespace retort
