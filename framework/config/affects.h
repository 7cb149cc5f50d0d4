/// What each key of a configuration can change.
#pragma once

#include <string>

namespace retort {

enum class Affects {
  nothing,       // where files go, how often something is said or saved
  rounding,      // the last digits: the number of threads
  presentation,  // titles, columns, plots
  evaluation,    // what is measured of a trained model
  training,      // the trained weights
};

/// Of a dotted key, such as "train.steps"; a key of no known table affects training.
Affects affects(const std::string& key);

}  // namespace retort
