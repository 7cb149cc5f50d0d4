#include "io/low_rank.h"

#include <ATen/ATen.h>

#include "retort/error.h"

namespace retort {

namespace {
const std::string ending = ".weight";
}

std::string low_rank_module(const std::string& weight) {
  return weight.ends_with(ending) ? weight.substr(0, weight.size() - ending.size()) : weight;
}

std::string low_rank_name(const std::string& weight, char factor) {
  return low_rank_module(weight) + ".lora_" + factor + ending;
}

Tensor low_rank_change(const Tensor& a, const Tensor& b, double scale) {
  std::vector<int64_t> shape = a.sizes().vec();
  shape[0] = b.size(0);
  return at::mm(b.flatten(1), a.flatten(1)).mul_(scale).view(shape);
}

namespace {

// Weights that the base was trained without, and that begin at zero.
void add_guidance(std::map<std::string, Tensor>& weights, const std::map<std::string, Tensor>& factors) {
  const std::string suffix = low_rank_name("", 'A');
  for (const auto& [name, a] : factors) {
    if (!name.starts_with("guidance.") || !name.ends_with(suffix)) {
      continue;
    }
    const std::string weight = name.substr(0, name.size() - suffix.size()) + ending;
    const auto b = factors.find(low_rank_name(weight, 'B'));
    if (b != factors.end() && a.dim() >= 2 && b->second.dim() >= 2 && !weights.contains(weight)) {
      std::vector<int64_t> shape = a.sizes().vec();
      shape[0] = b->second.size(0);
      weights[weight] = at::zeros(shape, a.options());
    }
  }
}

}  // namespace

c10::ScalarType at_least_float32(c10::ScalarType type) {
  return c10::elementSize(type) < sizeof(float) ? at::kFloat : type;
}

void merge_low_rank(std::map<std::string, Tensor>& weights, const std::map<std::string, Tensor>& factors, double scale,
                    const std::string& path) {
  add_guidance(weights, factors);
  size_t merged = 0;
  for (auto& [name, weight] : weights) {
    const auto a = factors.find(low_rank_name(name, 'A')), b = factors.find(low_rank_name(name, 'B'));
    if (a == factors.end() || b == factors.end()) {
      continue;
    }
    if (a->second.dim() < 2 || b->second.dim() < 2 || a->second.size(0) != b->second.size(1) ||
        b->second.size(0) * a->second.numel() != weight.numel() * a->second.size(0)) {
      throw RequestError(path + ": its change of '" + name + "' has another shape than the weights");
    }
    const auto options = weight.options().dtype(at_least_float32(weight.scalar_type()));
    weight = weight.to(options) + low_rank_change(a->second, b->second, scale).view(weight.sizes()).to(options);
    merged += 2;
  }
  if (merged != factors.size()) {
    throw RequestError(path + ": changes weights that its base does not have");
  }
}

}  // namespace retort
