/// Where the weights of new layers are made: in memory, or on the meta device, which knows names and shapes alone.
///
/// Billions of numbers need not be drawn only to be replaced by those of a file.
#pragma once

#include <ATen/ATen.h>

#include "retort/export.h"
#include "retort/tensor.h"

namespace retort {

class NewWeights {
 public:
  /// While it lives, layers that this thread makes are on the meta device.
  class RETORT_API OnMeta {
   public:
    OnMeta();
    ~OnMeta();
    OnMeta(const OnMeta&) = delete;
    OnMeta& operator=(const OnMeta&) = delete;

   private:
    bool before_;
  };

  /// Whether they are.
  RETORT_API static bool on_meta();

  static Tensor empty(at::IntArrayRef shape) {
    return at::empty(shape, at::TensorOptions().device(on_meta() ? at::kMeta : at::kCPU).dtype(at::kFloat));
  }

  /// Gives a weight other numbers, of the same shape, without a copy: it is then `tensor` itself, with its type and
  /// device. Whoever holds the weight sees them.
  static void put(Tensor& weight, const Tensor& tensor) {
    TORCH_CHECK(weight.sizes() == tensor.sizes(), "a weight of ", weight.sizes(), " cannot be ", tensor.sizes());
    weight.unsafeGetTensorImpl()->shallow_copy_from(tensor.detach().getIntrusivePtr());
  }
};

}  // namespace retort
