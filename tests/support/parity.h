/// Notes of what parity tests found, for the table in tests/parity/README.md: one line of JSON each, to the file that
/// RETORT_PARITY names. Without it nothing is written. tests/parity/table.py makes the table.
#pragma once

#include <cstdlib>
#include <fstream>
#include <string>

#include "io/json.h"

namespace retort::test {

inline void note(const Json& line) {
  if (const char* const path = std::getenv("RETORT_PARITY")) {
    std::ofstream(path, std::ios::app) << line.dump() << "\n";
  }
}

/// The largest difference of a plugin's numbers from a peer's, as the test that notes it measures it.
inline void note_difference(const std::string& kind, const std::string& plugin, const std::string& peer,
                            double difference) {
  note({{"kind", kind}, {"plugin", plugin}, {"peer", peer}, {"difference", difference}});
}

/// A measured order of convergence; `keys` says of which variant.
inline void note_order(const std::string& plugin, const std::string& keys, double claimed, double measured) {
  note({{"kind", "solver"}, {"plugin", plugin}, {"keys", keys}, {"order", claimed}, {"measured", measured}});
}

}  // namespace retort::test
