/// The weights of a network as oneDNN packs them, shared by its graphs for several batch sizes.
#pragma once

#include <retort/tensor.h>

#include <vector>

#include "kernels.h"

namespace retort {

class PackedWeights {
 public:
  explicit PackedWeights(const retort_onednn::Kernels& kernels) : kernels_(kernels) {}
  /// Gives a convolution its weights [out, in, height, width] or [out, in]: those that are packed already, where their
  /// layout fits. Several are joined along their outputs. A bias may be undefined.
  void give(retort_onednn::Operation* convolution, const std::vector<Tensor>& weights,
            const std::vector<Tensor>& biases);
  /// Packs all anew, from what the tensors hold now.
  void refresh();

 private:
  struct Entry {
    retort_onednn::Operation* convolution;
    std::vector<Tensor> weights, biases;
  };
  void pack(const Entry& entry) const;

  const retort_onednn::Kernels& kernels_;
  std::vector<Entry> entries_;
};

}  // namespace retort
