/// A frozen network, traced and lowered: its layers to the kernels, all else by LibTorch's own operators.
#pragma once

#include <retort/network.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "../common/network_inputs.h"
#include "weights.h"

namespace torch::jit {
struct Graph;
struct Value;
}  // namespace torch::jit

namespace retort {

/// A step of a lowered network, for people to read.
struct LoweredStep {
  std::string what;    // "convolution 64 to 64, 3 x 3, at 32 x 32 + residual", "aten::sin", …
  std::string how;     // the primitive that oneDNN chose, "Highway", "copy", or "LibTorch"
  double seconds = 0;  // summed over the calls that were timed
};

/// What a network computes for inputs of certain shapes, as operators of LibTorch.
///
/// The graph's inputs are those of the network, as far as they are given (`NetworkInputs::tensors`), and then every parameter and buffer of the
/// network. So a weight is told from another, and from a constant, by which tensor it is and never by its numbers:
/// passes that join equal constants leave weights alone, however equal they begin.
struct TracedNetwork {
  std::shared_ptr<torch::jit::Graph> graph;
  std::vector<const torch::jit::Value*> inputs;                      // of the network's own
  std::unordered_map<const torch::jit::Value*, at::Tensor> weights;  // the network's own tensors
  std::string obstacle;  // why steps must not be reordered or computed ahead: what is changed in place; else empty
  bool random = false;   // draws numbers, as dropout does
};

/// Throws Error where the network cannot be traced. Its weights and buffers are afterwards what they were.
TracedNetwork trace(Network& network, const NetworkInputs& in);

/// Holds what was made of a traced network against the network itself, on inputs of the same shapes but with other
/// numbers: a network that decides by its inputs' values is not one graph. Returns why it is not to be used, or "".
std::string disagreement(Network& network, const NetworkInputs& in, double tolerance,
                         const std::function<Tensor(const NetworkInputs& in)>& made);

/// A network for inputs of one shape. One thread at a time may run it.
class Graph {
 public:
  /// `bfloat16` keeps pictures in bfloat16 between the first convolution and the result.
  Graph(const TracedNetwork& traced, bool bfloat16, const retort_onednn::Kernels& kernels, PackedWeights& weights);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Writes the network's output to `out`, for inputs of the shapes that it was traced with.
  void run(const NetworkInputs& in, Tensor& out, bool timed = false);
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
