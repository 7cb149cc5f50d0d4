#include "retort/condition.h"

#include <ATen/ATen.h>

namespace retort {

Condition Condition::rows(const Tensor& index) const {
  return {labels.defined() ? labels.index_select(0, index.to(labels.device())) : Tensor(),
          guidance.defined() ? guidance.index_select(0, index.to(guidance.device())) : Tensor()};
}

Condition Condition::first(int64_t count) const {
  return {labels.defined() ? labels.narrow(0, 0, count) : Tensor(),
          guidance.defined() ? guidance.narrow(0, 0, count) : Tensor()};
}

}  // namespace retort
