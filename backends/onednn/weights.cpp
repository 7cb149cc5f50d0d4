#include "weights.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace retort {

void PackedWeights::give(retort_onednn::Operation* convolution, const std::vector<Tensor>& weights,
                         const std::vector<Tensor>& biases) {
  // Weights may be tied where biases are not, or be parts of each other.
  const auto same = [](const Tensor& a, const Tensor& b) {
    return a.defined() == b.defined() &&
           (!a.defined() || a.is_same(b) ||
            (a.is_alias_of(b) && a.storage_offset() == b.storage_offset() && a.sizes() == b.sizes() &&
             a.strides() == b.strides() && a.scalar_type() == b.scalar_type()));
  };
  const auto all_same = [&](const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), same);
  };
  for (const Entry& entry : entries_) {
    if (all_same(weights, entry.weights) && all_same(biases, entry.biases) &&
        kernels_.share_weights(convolution, entry.convolution)) {
      return;
    }
  }
  entries_.push_back({convolution, weights, biases});
  pack(entries_.back());
}

void PackedWeights::pack(const Entry& entry) const {
  std::vector<Tensor> weights, biases;
  bool any = false;
  for (size_t i = 0; i < entry.weights.size(); ++i) {
    const Tensor& w = entry.weights[i];
    const Tensor& b = entry.biases[i];
    weights.push_back(w.to(at::kFloat));
    biases.push_back(b.defined() ? b.to(at::kFloat) : at::zeros({w.size(0)}));
    any = any || b.defined();
  }
  const Tensor weight = at::cat(weights).contiguous(), bias = at::cat(biases).contiguous();
  kernels_.set_weights(entry.convolution, weight.const_data_ptr<float>(), any ? bias.const_data_ptr<float>() : nullptr);
}

void PackedWeights::refresh() {
  for (const Entry& entry : entries_) {
    pack(entry);
  }
}

}  // namespace retort
