/// A trainable function of x, the noise label, and named conditions.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "retort/conditioning.h"

namespace torch::nn {
class Module;
}

namespace retort {

class RETORT_API Network {
 public:
  static constexpr const char* kind = "network";
  using Interface = Network;
  virtual ~Network();

  /// x: [B, …]; c_noise: [B] float32, of order one (undefined for a classifier); condition: the inputs of the model
  /// that it was built for (`Host::spec`), those of them that are given. Guidance weights are given as log(1 + w), end
  /// times as c_noise is. Returns x's shape for a denoiser, or [B, outputs * C, …] for x: [B, C, …] where
  /// `ModelSpec::outputs` is more than 1, one sample's channels behind the other's; [B, classes] for a classifier. Must
  /// treat every row alike and alone.
  virtual Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) = 0;

  /// The inputs beside x and c_noise that this network, as it was built, reads. By default only class labels.
  virtual std::vector<std::string> inputs() const;

  /// How the names of the weights begin that take in that input alone and begin without effect, so that a student which
  /// is given it can begin at a teacher which is not. Empty where there are none: the default.
  virtual std::string weights_of(const std::string& input) const;

  /// Features of a sample for metrics, [B, F]. Throws Error where the network has none.
  virtual Tensor features(const Tensor& x);

  /// The module that owns the weights: parameters and buffers are listed, copied and saved through it.
  virtual std::shared_ptr<torch::nn::Module> module() = 0;
};

/// A network as a backend evaluates it.
class RETORT_API CompiledNetwork {
 public:
  virtual ~CompiledNetwork();
  /// What `Network::forward` says.
  virtual Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) = 0;
  /// To be called after the network's weights have changed.
  virtual void refresh();
  /// How the network was lowered for such inputs, and where its time goes: a line for each part, from `rounds` timed
  /// evaluations. Empty where the network runs as it is.
  virtual std::string profile(const Tensor& x, const Tensor& c_noise, const Conditioning& condition, int64_t rounds);
};

}  // namespace retort
