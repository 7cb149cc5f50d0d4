/// A frozen network, traced and lowered: its layers to the kernels, all else by LibTorch's own operators.
#pragma once

#include <retort/network.h>

#include <memory>
#include <string>
#include <vector>

#include "weights.h"

namespace torch::jit {
struct Graph;
}

namespace retort {

/// A step of a lowered network, for people to read.
struct LoweredStep {
  std::string what;    // "convolution 64 to 64, 3 x 3, at 32 x 32 + residual", "aten::sin", …
  std::string how;     // the primitive that oneDNN chose, "Highway", "copy", or "LibTorch"
  double seconds = 0;  // summed over the calls that were timed
};

/// What a network computes for inputs of these shapes: network(x, noise, labels), as operators of LibTorch. Weights are
/// constants that share their memory with the network's. Throws Error where the network cannot be traced.
std::shared_ptr<torch::jit::Graph> trace(Network& network, const Tensor& x, const Tensor& noise, const Tensor& labels);

/// A network for inputs of one shape. One thread at a time may run it.
class Graph {
 public:
  /// `bfloat16` keeps pictures in bfloat16 between the first convolution and the result.
  Graph(const std::shared_ptr<torch::jit::Graph>& traced, bool bfloat16, const retort_onednn::Kernels& kernels,
        PackedWeights& weights);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Writes the network's output to `out`, for inputs of the shapes that it was traced with.
  void run(const Tensor& x, const Tensor& noise, const Tensor& labels, Tensor& out, bool timed = false);
  /// Bytes of all that lives between the steps.
  int64_t bytes() const;
  const std::vector<int64_t>& output_sizes() const;
  const std::vector<LoweredStep>& steps() const;
  void forget_times();

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace retort
