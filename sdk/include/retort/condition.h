/// What a prediction is conditioned on.
#pragma once

#include "retort/tensor.h"

namespace retort {

/// Class labels [B] int64, or undefined for none. The label `classes` (one past the last) means "no class".
struct Condition {
  Tensor labels;

  RETORT_API Condition rows(const Tensor& index) const;
  RETORT_API Condition first(int64_t count) const;
};

/// Clean samples and their conditions.
struct Batch {
  Tensor x;  // [B, …]
  Condition condition;
};

}  // namespace retort
