/// Gradient checkpointing: parts of a network whose inner tensors are not kept for the backward pass, but computed
/// again in it. Memory against time (Chen et al. 2016, arXiv 1604.06174).
#pragma once

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <functional>
#include <utility>
#include <vector>

#include "retort/export.h"
#include "retort/tensor.h"

namespace retort {

/// While one lives that is `on`, `recomputed` keeps what a part is given, and nothing within it.
class RETORT_API Recompute {
 public:
  using Part = std::function<Tensor(const std::vector<Tensor>&)>;

  explicit Recompute(bool on);
  ~Recompute();
  Recompute(const Recompute&) = delete;
  Recompute& operator=(const Recompute&) = delete;

  /// Whether one does, and gradients are asked for in this thread.
  static bool is_on();
  /// How many parts have been run so in this process.
  static int64_t count();

  /// `recomputed`, where it is on.
  static Tensor run(const torch::nn::Module& owner, Part part, const std::vector<Tensor>& inputs);

 private:
  bool on_;
};

/// part(inputs…), a tensor: a function of its inputs and of what is trained within `owner` alone. Random numbers are
/// the same ones when it is computed again. First derivatives backwards only: a second one throws Error, and
/// derivatives that are carried forward go through the part as through any other code. `part` may refer to `owner`,
/// which has to live until the backward pass.
template <class F, class... Inputs>
Tensor recomputed(const torch::nn::Module& owner, const F& part, const Inputs&... inputs) {
  if (!Recompute::is_on() || (... || (inputs.defined() && inputs._fw_grad(0).defined()))) {
    return part(inputs...);
  }
  const auto again = [part]<size_t... I>(const std::vector<Tensor>& in, std::index_sequence<I...>) {
    return part(in[I]...);
  };
  return Recompute::run(
      owner, [again](const std::vector<Tensor>& in) { return again(in, std::index_sequence_for<Inputs...>()); },
      {inputs...});
}

}  // namespace retort
