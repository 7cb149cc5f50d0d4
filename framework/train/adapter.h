/// Low-rank adaptation (Hu et al. 2022, arXiv 2106.09685): of chosen weights only W = W0 + (alpha / rank) B A is
/// trained, everything else is frozen.
///
/// Merged, the network holds the weights with their change. The gradients of A and B follow from W's by the chain rule,
/// so that any network and backend can be adapted without knowing of it: dA = scale Bᵀ dW, dB = scale dW Aᵀ. That takes
/// W, W0 and dW. Beside the weights, layers that can (`LowRankLayer`) add scale B (A x) themselves: W0 stays where and
/// as it is, and no tensor of its size is made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/experiment.h"
#include "io/json.h"
#include "train/weights.h"

namespace retort {

class Adapter {
 public:
  /// A is uniform as a layer's own weights are (Kaiming, gain of sqrt 5), B is zero. Freezes what is not adapted.
  /// `whole`: how the names of those weights begin that are adapted whatever student.layers says.
  Adapter(Network& network, const Weights& weights, const StudentSettings& settings, uint64_t seed,
          const std::vector<std::string>& whole = {});

  /// Of an experiment's student, where it has one. Throws RequestError where the loss keeps a network that follows the
  /// student's weights, and the change stands beside them: there is no copy of them that could follow.
  static std::optional<Adapter> of(const Experiment& experiment, Network& network, const Weights& weights);

  /// A and B of each adapted weight: what is trained, averaged and saved.
  const Weights& factors() const { return factors_; }
  double scale() const { return scale_; }
  /// Whether the network holds the weights with their change.
  bool is_merged() const { return merged_; }
  /// What PEFT reads as adapter_config.json: kind, rank, weight and the adapted modules.
  Json peft_config(const std::string& base) const;

  /// Merged: gives A and B their gradients, from those of the weights, which are cleared.
  void pull_gradients() const;
  /// Gives the network what it holds, after the factors have moved. Beside the weights, it sees them already.
  void apply() const;
  /// Merged: all weights with the change that these factors make.
  std::vector<Tensor> merged(const std::vector<Tensor>& factors) const;

 private:
  const Weights& weights_;
  Weights factors_;              // A0, B0, A1, B1, …
  std::vector<size_t> adapted_;  // which of the weights
  bool merged_;
  std::vector<Tensor> base_;  // merged: W0 of all weights
  int64_t rank_;
  double scale_;
};

}  // namespace retort
