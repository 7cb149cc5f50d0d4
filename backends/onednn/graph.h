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

/// A network for inputs of one shape.
class Graph {
 public:
  /// Traces network(x, noise, labels); the inputs are examples of the shapes. `bfloat16` keeps pictures in bfloat16
  /// between the first convolution and the result. Throws Error where the network cannot be traced.
  Graph(Network& network, const Tensor& x, const Tensor& noise, const Tensor& labels, bool bfloat16,
        const retort_onednn::Kernels& kernels);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// The network's output, for inputs of the shapes that it was traced with. The weights are those of the last refresh.
  Tensor run(const Tensor& x, const Tensor& noise, const Tensor& labels, bool timed = false);
  /// Packs the network's weights anew.
  void refresh();
  const std::vector<LoweredStep>& steps() const;
  void forget_times();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace retort
