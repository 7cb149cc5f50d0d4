/// Subsets of rows for metrics whose cost must be bounded.
#pragma once

#include <ATen/ATen.h>

#include "retort/tensor.h"

namespace retort {

/// `most` rows of x [n, …], drawn without replacement over all of them; x itself where it has no more. Never the first
/// ones: data sets may be in order of class.
inline Tensor draw_rows(const Tensor& x, int64_t most, at::Generator generator) {
  if (x.size(0) <= most) {
    return x;
  }
  const Tensor order = at::randperm(x.size(0), std::move(generator), at::TensorOptions().dtype(at::kLong));
  return x.index_select(0, order.narrow(0, 0, most).to(x.device()));
}

}  // namespace retort
