/// The way from t to the target's time r in easy consistency tuning, which closes in on t as training goes on.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace retort {

/// In noise levels, r = t max(0, 1 - n(t) / q^(k + 1)) in part k of the training, n(t) = 1 + a / (1 + e^{b t}), or 1
/// (Geng et al. 2024, arXiv 2406.14548: the mapping function). A first part with q = 2 compares with the data itself,
/// as a diffusion model does.
class ClosingStep {
 public:
  /// From the keys `mapping`, `q`, `parts`, `least_gap`, `gap_at_0` and `gap_slope`.
  explicit ClosingStep(Params& p)
      : sigmoid_(p.choice("mapping", "sigmoid", {"sigmoid", "constant"},
                          "n(t) of r = t (1 - n(t) / q^(k + 1)), in noise levels: sigmoid: 1 + a / (1 + exp(b t)); "
                          "constant: 1") == "sigmoid"),
        q_(p.get("q", 2.0, "by which t - r shrinks from part to part of the training", more_than(1))),
        parts_(p.get("parts", 8, "equal parts of the training, k = 0 … parts - 1", at_least(1))),
        least_(p.get("least_gap", 0.0, "least value of 1 / q^(k + 1)", {.low = 0, .high = 1, .high_open = true})),
        a_(p.get("gap_at_0", 8.0, "mapping = \"sigmoid\": a", at_least(0))),
        b_(p.get("gap_slope", 1.0, "mapping = \"sigmoid\": b", at_least(0))) {}

  /// level: [B] float64, noise levels. progress in [0, 1].
  Tensor operator()(const Tensor& level, double progress) const {
    const double part = std::min(std::floor(progress * static_cast<double>(parts_) + 1e-9),  // a computed fraction
                                 static_cast<double>(parts_ - 1));
    const double gap = std::max(std::pow(q_, -(part + 1)), least_);
    const Tensor n = sigmoid_ ? 1 + a_ * (-b_ * level).sigmoid() : at::ones_like(level);
    return level * (1 - gap * n).clamp_min(0);
  }

 private:
  bool sigmoid_;
  double q_;
  int64_t parts_;
  double least_, a_, b_;
};

}  // namespace retort
