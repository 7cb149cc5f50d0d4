#include "train/adapter.h"

#include <ATen/ATen.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

#include "io/low_rank.h"
#include "retort/error.h"
#include "retort/low_rank_layer.h"

namespace retort {

Adapter::Adapter(Network& network, const Weights& weights, const StudentSettings& settings, uint64_t seed,
                 const std::vector<std::string>& whole)
    : weights_(weights),
      merged_(settings.merged),
      base_(merged_ ? weights.copy() : std::vector<Tensor>()),
      rank_(settings.rank),
      scale_((settings.alpha > 0 ? settings.alpha : static_cast<double>(settings.rank)) /
             static_cast<double>(settings.rank)) {
  const auto layers = merged_ ? std::map<std::string, LowRankLayer*>() : low_rank_layers(*network.module());
  bool any = false;
  for (size_t i = 0; i < weights.parameter_count; ++i) {
    const std::string& name = weights.names[i];
    const Tensor& w = weights.tensors[i];
    const bool matches =
        w.dim() >= 2 && std::any_of(settings.layers.begin(), settings.layers.end(), [&](const std::string& pattern) {
          return fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
        });
    const bool wanted =
        std::any_of(whole.begin(), whole.end(), [&](const std::string& prefix) { return name.starts_with(prefix); });
    const auto layer = layers.find(name);
    const bool takes = merged_ || layer != layers.end();
    const bool chosen = takes && (matches || (w.dim() >= 2 && wanted));
    if (!chosen || !merged_) {
      Tensor(w).set_requires_grad(false);
    }
    if (!chosen) {
      continue;
    }
    any |= matches;
    adapted_.push_back(i);
    std::vector<int64_t> a_shape = w.sizes().vec(), b_shape(a_shape.size(), 1);
    a_shape[0] = settings.rank;
    b_shape[0] = w.size(0);
    b_shape[1] = settings.rank;
    const double bound = 1 / std::sqrt(static_cast<double>(w[0].numel()));
    const Tensor uniform = at::rand(a_shape, seeded(seed, "adapter", i), at::TensorOptions().dtype(at::kDouble));
    const auto options = w.options().dtype(at_least_float32(w.scalar_type()));
    factors_.names.push_back(low_rank_name(name, 'A'));
    factors_.tensors.push_back(((2 * uniform - 1) * bound).to(options).set_requires_grad(true));
    factors_.names.push_back(low_rank_name(name, 'B'));
    factors_.tensors.push_back(at::zeros(b_shape, options).set_requires_grad(true));
    if (!merged_) {
      layer->second->change_by(factors_.tensors[factors_.tensors.size() - 2], factors_.tensors.back(), scale_);
    }
  }
  if (!any && !merged_) {
    throw RequestError(
        "student.merged: is false, and no layer that student.layers names takes a change beside its weights; expected "
        "true");
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

namespace {
// Layers of inputs that the host itself gives begin without effect: frozen, the student would never learn what it is
// told.
std::vector<std::string> weights_of_new_inputs(const Experiment& experiment, const Network& network) {
  std::vector<std::string> out;
  for (const std::string_view input : {inputs::guidance, inputs::end_time}) {
    if (experiment.spec().has(input)) {
      out.push_back(network.weights_of(std::string(input)));
    }
  }
  std::erase(out, "");
  return out;
}
}  // namespace

std::optional<Adapter> Adapter::of(const Experiment& experiment, Network& network, const Weights& weights) {
  if (!experiment.student->low_rank) {
    return std::nullopt;
  }
  for (const Role& role : experiment.loss->roles()) {
    if (!experiment.student->merged && role.name != "student" && role.update != Role::Update::trained) {
      throw RequestError("student.merged: is false, and loss '" + experiment.loss_name() + "' keeps a network '" +
                         role.name + "' that follows the student's weights; expected true");
    }
  }
  return std::make_optional<Adapter>(network, weights, *experiment.student, static_cast<uint64_t>(experiment.run->seed),
                                     weights_of_new_inputs(experiment, network));
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
  if (!merged_) {
    return;  // autograd gave them
  }
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

void Adapter::apply() const {
  if (merged_) {
    weights_.assign(merged(factors_.tensors));
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
