/// A frozen network, traced and lowered: convolutions and norms to the kernels, all else by LibTorch's own operators.
#pragma once

#include <retort/network.h>

#include <memory>
#include <string>
#include <vector>

#include "kernels.h"

namespace retort {

/// A step of a lowered network, for people to read.
struct LoweredStep {
  std::string what;    // "convolution 64 x 64 x 3 x 3 + residual", "aten::cat", …
  std::string how;     // the primitive that oneDNN chose, "Highway", or "LibTorch"
  double seconds = 0;  // summed over the calls that were timed
};

/// The weights of a network as oneDNN packs them, shared by its graphs for several batch sizes.
class PackedWeights {
 public:
  explicit PackedWeights(const retort_onednn::Kernels& kernels) : kernels_(kernels) {}
  /// Gives a convolution its weights: those that are packed already, where their layout fits. bias may be undefined.
  void give(retort_onednn::Convolution* convolution, const Tensor& weight, const Tensor& bias);
  /// Packs all anew, from what the tensors hold now.
  void refresh();

 private:
  struct Entry {
    retort_onednn::Convolution* convolution;
    Tensor weight, bias;
  };
  void pack(const Entry& entry) const;

  const retort_onednn::Kernels& kernels_;
  std::vector<Entry> entries_;
};

/// A network for inputs of one shape.
class Graph {
 public:
  /// Traces network(x, noise, labels); the inputs are examples of the shapes. `bfloat16` keeps pictures in bfloat16
  /// between the first convolution and the result. Throws Error where the network cannot be traced.
  Graph(Network& network, const Tensor& x, const Tensor& noise, const Tensor& labels, bool bfloat16,
        const retort_onednn::Kernels& kernels, PackedWeights& weights);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// The network's output, for inputs of the shapes that it was traced with.
  Tensor run(const Tensor& x, const Tensor& noise, const Tensor& labels, bool timed = false);
  const std::vector<LoweredStep>& steps() const;
  void forget_times();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace retort
