#include "weights.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace retort {

void PackedWeights::give(retort_onednn::Operation* convolution, const std::vector<Tensor>& weights,
                         const std::vector<Tensor>& biases) {
  const auto same = [](const Tensor& a, const Tensor& b) { return a.const_data_ptr() == b.const_data_ptr(); };
  for (const Entry& entry : entries_) {
    if (std::equal(weights.begin(), weights.end(), entry.weights.begin(), entry.weights.end(), same) &&
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
