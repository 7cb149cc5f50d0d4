#include "train/adapter.h"

#include <ATen/ATen.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "io/low_rank.h"
#include "retort/error.h"

namespace retort {

Adapter::Adapter(const Weights& weights, const StudentSettings& settings, uint64_t seed,
                 const std::vector<std::string>& whole)
    : weights_(weights),
      base_(weights.copy()),
      rank_(settings.rank),
      scale_((settings.alpha > 0 ? settings.alpha : static_cast<double>(settings.rank)) /
             static_cast<double>(settings.rank)) {
  bool any = false;
  for (size_t i = 0; i < weights.parameter_count; ++i) {
    const std::string& name = weights.names[i];
    const Tensor& w = weights.tensors[i];
    const bool matches =
        w.dim() >= 2 && std::any_of(settings.layers.begin(), settings.layers.end(), [&](const std::string& pattern) {
          return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
        });
    any |= matches;
    const bool wanted = std::any_of(whole.begin(), whole.end(),
                                    [&](const std::string& prefix) { return name.starts_with(prefix); });
    if (!matches && !(w.dim() >= 2 && wanted)) {
      Tensor(w).set_requires_grad(false);
      continue;
    }
    adapted_.push_back(i);
    std::vector<int64_t> a_shape = w.sizes().vec(), b_shape(a_shape.size(), 1);
    a_shape[0] = settings.rank;
    b_shape[0] = w.size(0);
    b_shape[1] = settings.rank;
    const double bound = 1 / std::sqrt(static_cast<double>(w[0].numel()));
    const Tensor uniform = at::rand(a_shape, seeded(seed, "adapter", i), at::TensorOptions().dtype(at::kDouble));
    factors_.names.push_back(low_rank_name(name, 'A'));
    factors_.tensors.push_back(((2 * uniform - 1) * bound).to(w.options()).set_requires_grad(true));
    factors_.names.push_back(low_rank_name(name, 'B'));
    factors_.tensors.push_back(at::zeros(b_shape, w.options()).set_requires_grad(true));
  }
  if (!any) {
    std::string some;
    for (size_t i = 0; i < std::min<size_t>(3, weights.names.size()); ++i) {
      some += (i > 0 ? ", " : "") + weights.names[i];
    }
    throw RequestError("student.layers: no matrix or convolution is called so; the weights' names are like " + some);
  }
  factors_.parameter_count = factors_.tensors.size();
}

Json Adapter::peft_config(const std::string& base) const {
  Json modules = Json::array();
  for (const size_t i : adapted_) {
    modules.push_back(low_rank_module(weights_.names[i]));
  }
  return {{"peft_type", "LORA"},
          {"base_model_name_or_path", base},
          {"r", rank_},
          {"lora_alpha", scale_ * static_cast<double>(rank_)},
          {"target_modules", modules},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true}};
}

void Adapter::pull_gradients() const {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < adapted_.size(); ++i) {
    Tensor w = weights_.tensors[adapted_[i]], a = factors_.tensors[2 * i], b = factors_.tensors[2 * i + 1];
    if (!w.grad().defined()) {
      continue;
    }
    const Tensor gradient = w.grad().contiguous().flatten(1);
    a.mutable_grad() = at::mm(b.flatten(1).t(), gradient).mul_(scale_).view(a.sizes());
    b.mutable_grad() = at::mm(gradient, a.flatten(1).t()).mul_(scale_).view(b.sizes());
    w.mutable_grad() = Tensor();
  }
}

std::vector<Tensor> Adapter::merged(const std::vector<Tensor>& factors) const {
  const at::NoGradGuard no_grad;
  std::vector<Tensor> out = base_;
  for (size_t i = 0; i < adapted_.size(); ++i) {
    const Tensor& base = base_[adapted_[i]];
    out[adapted_[i]] =
        base + low_rank_change(factors[2 * i].detach(), factors[2 * i + 1].detach(), scale_).view(base.sizes());
  }
  return out;
}

}  // namespace retort
