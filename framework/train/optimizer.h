/// First-order optimizers over a list of parameters, with a state that can be saved.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/settings.h"
#include "train/weights.h"

namespace retort {

/// Adam (Kingma & Ba 2015), AdamW (Loshchilov & Hutter 2019) and SGD by LibTorch's fused kernels; RAdam (Liu et al.
/// 2020), which LibTorch lacks.
class Optimizer {
 public:
  Optimizer(const Weights& weights, const TrainSettings& settings);

  /// One step with the gradients that the parameters hold, which are cleared. `step` is the training's, counted from 0,
  /// and gives the learning rate with `spent`, as `rate` does; `before` is how many steps this optimizer has taken.
  void step(int64_t step, int64_t before, double spent = 0);
  /// Forgets its moments, as if it had taken no step.
  void reset();
  /// Clears the gradients without a step.
  void skip();
  /// The learning rate of that step. `spent` is the share of what ends the training beside the steps (`Budget::spent`).
  double rate(int64_t step, double spent = 0) const;

  /// Under the names PREFIXoptimizer/….
  void store(std::map<std::string, Tensor>& out, const std::string& prefix = "") const;
  void restore(const std::map<std::string, Tensor>& from, const std::string& prefix = "");

 private:
  void radam(const std::vector<Tensor>& gradients, double rate, int64_t before);

  const TrainSettings& settings_;
  std::vector<std::string> names_;
  std::vector<Tensor> parameters_;
  std::vector<Tensor> first_;   // first moments, or SGD's momentum
  std::vector<Tensor> second_;  // second moments
};

/// Divides the gradients by `scale`, then scales them so that their joint norm is at most `most`, if `most` > 0.
/// Returns the norm between the two, a number on the gradients' device: nothing waits for the device.
Tensor clip_gradients(const std::vector<Tensor>& parameters, double most, double scale = 1);

}  // namespace retort
