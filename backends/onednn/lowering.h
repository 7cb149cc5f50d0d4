/// From a traced graph to steps over one block of memory.
///
/// A value is a constant, a view of a buffer (what kernels read and write), or held in a slot as LibTorch's own value
/// (what operators that are not lowered read and write). Operators that only rearrange, such as transpose or chunk, are
/// followed on tensors without memory and cost nothing when the network runs.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/ir/ir.h>

#include <functional>
#include <optional>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "arena.h"
#include "graph.h"

namespace retort {

/// What steps work on.
struct Frame {
  char* arena = nullptr;
  std::vector<c10::IValue> slots;
};

struct View {
  size_t buffer = 0;
  Tensor meta;  // on the device "meta": type, sizes, strides and offset within the buffer
};

/// Where a view begins.
struct Place {
  size_t buffer = 0;
  int64_t bytes = 0;
};

struct Step {
  LoweredStep shown;
  std::function<void(Frame&)> run;
  std::vector<size_t> reads, writes;            // buffers
  std::vector<size_t> slot_reads, slot_writes;  // slots
  std::vector<size_t> dead;                     // slots that nothing reads after this step
};

class Lowering {
 public:
  Lowering(const TracedNetwork& traced, bool bfloat16, const retort_onednn::Kernels& kernels, PackedWeights& weights);
  ~Lowering();
  Lowering(const Lowering&) = delete;
  Lowering& operator=(const Lowering&) = delete;

  Frame frame;
  std::vector<Step> steps;
  std::vector<size_t> inputs;  // slots
  size_t output = 0;           // slot
  std::vector<int64_t> output_sizes;
  int64_t bytes = 0;

 private:
  using Value = torch::jit::Value;
  using Node = torch::jit::Node;

  struct Known {
    std::optional<c10::IValue> constant;
    Tensor weight;  // a tensor of the network's own, which may change: its numbers are never taken for constants
    std::optional<View> view;
    std::vector<View> views;  // of a list
    std::optional<size_t> slot;
    std::vector<View> copies;  // the same numbers in other layouts
  };

  // A sum of a picture and a vector for each row, which the norm that reads it will do.
  struct Deferred {
    const Value *picture, *vector;
  };

  Known& known(const Value* value) { return known_[value]; }
  std::optional<c10::IValue> constant(const Value* value) const;
  // A weight or a constant tensor; undefined for None; none where the value is computed.
  std::optional<Tensor> weight_of(const Value* value) const;
  std::optional<double> number(const Value* value) const;
  std::optional<std::vector<int64_t>> integers(const Value* value) const;
  bool is_done(const Node* node) const { return done_.contains(node); }
  bool is_ready(const Value* value) const;

  View new_view(at::IntArrayRef sizes, at::IntArrayRef order, at::ScalarType type);
  Place place(const View& view) const;
  char* at(const Frame& f, const Place& p) const { return f.arena + buffers_[p.buffer].offset + p.bytes; }
  // The value in memory, with its dimensions laid out in `order`, the outermost first.
  View in_memory(const Value* value, at::IntArrayRef order, at::ScalarType type);
  View picture(const Value* value);
  // A vector for each row, at any distance between rows; none where the value is no such thing.
  std::optional<View> row_vectors(const Value* value, int64_t rows, int64_t columns);
  size_t slot(const Value* value);
  Tensor tensor(char* arena, const View& view) const;

  at::ScalarType state() const { return bfloat16_ ? at::kBFloat16 : at::kFloat; }

  void lower(Node* node);
  bool lower_constant(Node* node);
  bool lower_view(Node* node);
  bool lower_convolution(Node* node);
  bool lower_linear(Node* node);
  // A linear layer of any of its spellings. LibTorch's tracer sees its parts: x W^T + b as addmm, or as matmul.
  struct Linear {
    const Value* x;
    Tensor weight, bias;
  };
  std::optional<Linear> as_linear(const Node* node) const;
  bool can_lower_norm(const Node* node) const;
  bool lower_norm(Node* node);
  bool lower_attention(Node* node);
  bool lower_concat(Node* node);
  bool lower_resizing(Node* node);
  bool defer_sum(Node* node);
  void lower_other(Node* node);

  // What can be done as a convolution writes its result.
  struct Tail {
    const Value* result;
    Tensor meta;  // of the result
    const Value* residual = nullptr;
    std::optional<View> residual_view;
    float factor = 1;
    bool silu = false;
    std::vector<const Node*> nodes;
  };
  Tail follow(const Value* result, const Tensor& meta);
  void add_convolution(const retort_onednn::ConvolutionShape& shape, retort_onednn::Operation* operation,
                       const View& src, const Tail* tail, const View& dst);
  std::optional<std::vector<Tensor>> rearranged(Node* node, const Tensor& meta);
  void finish(const torch::jit::Graph& graph);
  void drop_unused();

  const retort_onednn::Kernels& kernels_;
  PackedWeights& weights_;
  const bool bfloat16_;
  std::unordered_map<const Value*, Known> known_;
  std::unordered_map<const Value*, Deferred> deferred_;
  std::unordered_set<const Node*> done_;  // fused into an earlier step
  std::vector<Buffer> buffers_;
  std::vector<std::set<size_t>> held_;  // by slot: the buffers that its tensors may share memory with
  struct Blob {
    size_t slot;
    std::vector<View> views;
    bool list;
  };
  std::vector<Blob> blobs_;  // slots that show views to LibTorch
  std::vector<retort_onednn::Operation*> operations_;
  std::optional<Arena> arena_;
};

/// A step over slots that does what a node says, by LibTorch: its operator, or its interpreter where there is none.
std::function<void(std::vector<c10::IValue>&)> general_step(torch::jit::Node* node, const std::vector<size_t>& reads,
                                                            const std::vector<size_t>& writes);
bool is(const torch::jit::Node* node, const char* name);
/// The one node that uses a value, or null.
torch::jit::Node* only_user(const torch::jit::Value* value);
/// Sizes that the trace saw; empty where unknown.
std::vector<int64_t> sizes_of(const torch::jit::Value* value);
/// Whether a tensor is dense with its dimensions in this order, the outermost first.
bool is_dense(const Tensor& meta, at::IntArrayRef order);
/// Pictures: [n, channels, …], channels innermost.
std::vector<int64_t> channels_last(int64_t dimensions);
std::vector<int64_t> as_listed(int64_t dimensions);

}  // namespace retort
