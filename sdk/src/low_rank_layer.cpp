#include "retort/low_rank_layer.h"

#include <torch/csrc/jit/frontend/tracer.h>

#include <utility>

#include "retort/error.h"

namespace retort {

namespace {

Tensor untraced(const Tensor& factor, const Tensor& x) {
  if (torch::jit::tracer::isTracing()) {
    throw Error("its low-rank change stands beside the weights, where no trace sees it");
  }
  return factor.to(x.scalar_type());
}

}  // namespace

StoredLayer::~StoredLayer() = default;

void LowRankLayer::change_by(Tensor a, Tensor b, double scale) {
  a_ = std::move(a);
  b_ = std::move(b);
  scale_ = scale;
}

std::vector<Tensor> LowRankLayer::factors() const {
  return is_changed() ? std::vector<Tensor>{a_, b_} : std::vector<Tensor>();
}

Tensor LowRankLayer::a(const Tensor& x) const { return untraced(a_, x); }
Tensor LowRankLayer::b(const Tensor& x) const { return untraced(b_, x); }

std::map<std::string, LowRankLayer*> low_rank_layers(torch::nn::Module& module) {
  std::map<std::string, LowRankLayer*> out;
  for (const auto& part : module.named_modules("", /*include_self=*/false)) {
    if (auto* layer = dynamic_cast<LowRankLayer*>(part.value().get())) {
      out[part.key() + ".weight"] = layer;
    }
  }
  return out;
}

std::vector<Tensor> trained_within(const torch::nn::Module& module) {
  std::vector<Tensor> out;
  const auto take = [&](const std::vector<Tensor>& all) {
    for (const Tensor& t : all) {
      if (t.defined() && t.requires_grad()) {
        out.push_back(t);
      }
    }
  };
  take(module.parameters());
  for (const auto& part : module.modules()) {
    if (const auto* layer = dynamic_cast<const LowRankLayer*>(part.get())) {
      take(layer->factors());
    }
  }
  return out;
}

}  // namespace retort
