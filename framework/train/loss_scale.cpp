#include "train/loss_scale.h"

#include "retort/error.h"

namespace retort {

void LossScale::restore(double factor, int64_t good_steps) {
  if (is_on_) {
    factor_ = factor;
    good_steps_ = good_steps;
  }
}

bool LossScale::accept(bool finite) {
  constexpr int64_t steps_to_double = 2000;
  constexpr double least = 1.0 / 1024;
  if (finite) {
    if (is_on_ && ++good_steps_ == steps_to_double) {
      factor_ *= 2;
      good_steps_ = 0;
    }
    return true;
  }
  factor_ /= 2;
  good_steps_ = 0;
  if (!is_on_ || factor_ < least) {
    throw Error("the gradient is not finite");
  }
  return false;
}

}  // namespace retort
