/// A trainable function of (x, noise label, class label).
#pragma once

#include <map>
#include <memory>
#include <string>

#include "retort/condition.h"

namespace torch::nn {
class Module;
}

namespace retort {

class RETORT_API Network {
 public:
  static constexpr const char* kind = "network";
  using Interface = Network;
  virtual ~Network();

  /// x: [B, …]; noise: [B] float32, of order one; labels: [B] int64 or undefined. Returns x's shape for a denoiser,
  /// [B, classes] for a classifier. Must treat every row alike and alone. Where the task is guided, noise is [B, 2]:
  /// the noise label, and log(1 + w) of the guidance weight.
  virtual Tensor forward(const Tensor& x, const Tensor& noise, const Tensor& labels) = 0;

  /// Whether it was built for a guided task. Its weights for that are called "guidance.…" and begin without effect, so
  /// that a student can begin at a teacher that has none of them. False by default.
  virtual bool guided() const;

  /// Features of a sample for metrics, [B, F]. Throws Error where the network has none.
  virtual Tensor features(const Tensor& x);

  /// The module that owns the weights: parameters and buffers are listed, copied and saved through it.
  virtual std::shared_ptr<torch::nn::Module> module() = 0;
};

/// What the host tells a network's constructor of its task.
struct Task {
  std::vector<int64_t> shape;  // of one sample
  int64_t classes = 0;         // 0: unconditional
  bool guided = false;         // conditioned on the weight of classifier-free guidance as well
};

/// A network ready to be evaluated by a backend.
class RETORT_API Evaluator {
 public:
  virtual ~Evaluator();
  virtual Tensor operator()(const Tensor& x, const Tensor& noise, const Tensor& labels) = 0;
  /// To be called after the network's weights have changed.
  virtual void refresh();
  /// How the network was lowered for x, noise and labels, and where its time goes: a line for each part, from `rounds`
  /// timed evaluations. Empty where the network runs as it is.
  virtual std::string profile(const Tensor& x, const Tensor& noise, const Tensor& labels, int64_t rounds);
};

}  // namespace retort
