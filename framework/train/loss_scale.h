/// The factor that keeps gradients in float16 from vanishing.
#pragma once

#include <cstdint>

namespace retort {

/// Doubles after 2,000 steps in a row with finite gradients, and halves at a step whose gradients are not finite, which
/// is then to be skipped. Source: Micikevicius et al. 2017 (arXiv 1710.03740), section 3.2.
class LossScale {
 public:
  /// 1: no scaling, for ever.
  explicit LossScale(double first) : factor_(first), is_on_(first != 1) {}

  bool is_on() const { return is_on_; }
  double factor() const { return factor_; }
  int64_t good_steps() const { return good_steps_; }
  void restore(double factor, int64_t good_steps);

  /// Follows a step. False: skip it. Throws Error where the factor has fallen so far that something else is wrong.
  bool accept(bool finite);

 private:
  double factor_;
  bool is_on_;
  int64_t good_steps_ = 0;
};

}  // namespace retort
