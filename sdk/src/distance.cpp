#include "retort/distance.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <cmath>

#include "retort/fused.h"
#include "retort/host.h"
#include "retort/network.h"

namespace retort {

namespace {

// A table is a network of its own. (Parameters say by an error alone what is no path.)
bool holds_table(const Params& p, const std::string& key) {
  Params copy = p;
  try {
    copy.path(key, "", "");
  } catch (const RequestError& e) {
    return std::string(e.what()).find("is a table") != std::string::npos;
  }
  return false;
}

}  // namespace

std::shared_ptr<Network> feature_network(Params& p, const std::string& key, const std::string& doc) {
  const bool table = !p.is_describing() && holds_table(p, key);
  const std::string path = table ? key : p.path(key, "", doc);
  if (p.is_describing() || path.empty()) {
    return nullptr;
  }
  std::shared_ptr<Network> out;
  if (table) {
    out = p.plugin<Network>(key, RETORT_NETWORK_OF_FEATURES, doc);
    p.host().backend().place(*out);
    out->module()->eval();
  } else {
    out = p.host().network(p.host().checkpoint(path), path);
  }
  for (const Tensor& weights : out->module()->parameters()) {
    Tensor(weights).set_requires_grad(false);
  }
  const Backend& backend = p.host().backend();
  std::vector<int64_t> shape = p.host().spec().shape;
  shape.insert(shape.begin(), 1);
  const at::NoGradGuard no_grad;
  try {
    out->features(at::zeros(shape, at::TensorOptions().dtype(backend.dtype()).device(backend.device())));
  } catch (const Error& e) {
    throw p.error(key, (table ? "" : path + " ") + "cannot serve: " + e.what());
  }
  return out;
}

namespace {

// The channels of every place, brought to length 1.
Tensor of_length_one(const Tensor& maps) {
  return maps / (maps.square().sum(1, true) + 1e-10).sqrt();  // the root has no slope at 0
}

// a, b: [B, F] or maps [B, C, …]. Returns [B].
Tensor between_features(const Tensor& a, const Tensor& b) {
  if (a.dim() == 2) {
    return (a - b).square().sum(1);
  }
  return (of_length_one(a) - of_length_one(b)).square().sum(1).flatten(1).mean(1);
}

}  // namespace

Distance::Distance(Params& p, const std::string& fallback)
    : name_(p.choice(
          "distance", fallback, {"l2", "l2_sum", "l1", "pseudo_huber", "pseudo_huber_vector", "cauchy", "features"},
          "between prediction and target; pseudo_huber per element, pseudo_huber_vector and cauchy per sample")),
      c_(p.get("huber_c", 0.0,
               "c of the pseudo-Huber and Cauchy distances; 0: 0.001 per element, 0.00054 sqrt(dimension) per sample",
               at_least(0))) {
  if (p.is_describing() || name_ == "features") {
    features_ = feature_network(p, "distance_features",
                                "distance = \"features\": safetensors file of the network whose features are compared, "
                                "or a table as evaluate.features has");
    if (!p.is_describing() && features_ == nullptr) {
      throw p.error("distance_features", "missing; distance = \"features\" needs a network");
    }
  }
}

Tensor Distance::operator()(const Tensor& prediction, const Tensor& target) const {
  using arithmetic::Measure;
  if (features_ != nullptr) {
    return between_features(features_->features(prediction), features_->features(target));
  }
  if (name_ == "l2") {
    return mean_measure(Measure::square, prediction, target);
  }
  if (name_ == "l1") {
    return mean_measure(Measure::absolute, prediction, target);
  }
  if (name_ == "pseudo_huber") {
    return mean_measure(Measure::pseudo_huber, prediction, target, c_ > 0 ? c_ : 0.001);
  }
  const auto dimension = static_cast<double>(prediction[0].numel());
  if (name_ == "l2_sum") {
    return mean_measure(Measure::square, prediction, target) * dimension;
  }
  const double c = c_ > 0 ? c_ : 0.00054 * std::sqrt(dimension);
  const Tensor square = mean_measure(Measure::square, prediction, target) * dimension;
  if (name_ == "cauchy") {
    return (square / (2 * c * c)).log1p();
  }
  // sqrt(square + c^2) - c without cancellation for small squares
  return square / ((square + c * c).sqrt() + c);
}

}  // namespace retort
