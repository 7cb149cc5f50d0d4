/// What a prediction is conditioned on.
#pragma once

#include "retort/tensor.h"

namespace retort {

struct Condition {
  /// Class labels [B] int64, or undefined for none. The label `classes` (one past the last) means "no class".
  Tensor labels = {};
  /// Weights w [B] float64 of classifier-free guidance, or undefined where the teacher's own weight holds.
  Tensor guidance = {};

  RETORT_API Condition rows(const Tensor& index) const;
  RETORT_API Condition first(int64_t count) const;
};

/// Clean samples and their conditions.
struct Batch {
  Tensor x;  // [B, …]
  Condition condition;
};

}  // namespace retort
