/// Networks that are told other times than those of their process, or say something else than a prediction of ours.
#pragma once

#include <memory>

#include "retort/network.h"
#include "retort/value.h"

namespace retort {

/// What stands between a network and its process, as two keys in a network's table of checkpoints:
///   timestep_scale  by what c_noise is multiplied: flows of diffusers count to 1000, ours to 1
///   gives_score     whether the output is the score of a variance-exploding process, -eps / sigma, sigma being the
///   time
///                   that the network is told
struct ForeignTimes {
  double scale = 1;
  bool gives_score = false;

  bool empty() const { return scale == 1 && !gives_score; }
  /// Writes the keys that say something.
  void write(Value& network) const;
  /// Reads the keys, and takes them out of the table.
  static ForeignTimes take(Value& network);
  /// The network as our processes ask it; itself where nothing is said.
  std::shared_ptr<Network> around(std::shared_ptr<Network> network) const;
};

}  // namespace retort
