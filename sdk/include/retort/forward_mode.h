/// Derivatives along a direction, carried through a network in one evaluation.
#pragma once

#include <functional>

#include "retort/tensor.h"

namespace retort {

/// While it lives, LibTorch carries derivatives along, and attention is computed by operators that can.
class RETORT_API ForwardMode {
 public:
  ForwardMode();
  ~ForwardMode();
  ForwardMode(const ForwardMode&) = delete;
  ForwardMode& operator=(const ForwardMode&) = delete;

  /// `value` that moves along `tangent`, of the same shape.
  Tensor with(const Tensor& value, const Tensor& tangent) const;

  struct Value {
    Tensor output, derivative;  // both differentiable
  };
  /// What `network` makes of such tensors. Throws Error where an operation has no forward-mode derivative; `instead`
  /// says what can do without one.
  Value of(const std::function<Tensor()>& network, const char* instead) const;

 private:
  bool flash_;
  uint64_t level_;
};

}  // namespace retort
