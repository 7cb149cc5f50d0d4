/// The embeddings of the noise label and of the other numbers that a row is given, shared by the networks.
#pragma once

#include <retort/conditioning.h>
#include <retort/params.h>

#include <ATen/ATen.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <numbers>

namespace retort {

/// The key of a network that says `sinusoidal_embedding`'s greatest frequency.
inline double embedding_frequency(Params& p) {
  return p.get("embedding_frequency", 16.0,
               "greatest frequency of the embeddings of noise and end times, in cycles per unit of these. Losses that "
               "derive the network by time want 1: its derivative grows with this (Lu & Song 2024, arXiv 2410.11081, "
               "section 4.1)",
               {.low = 0.25, .low_open = true});
}

/// noise: [B], of order one. Returns [B, width] cosines and sines at frequencies even in logarithm between 1/4 and
/// `most` cycles per unit.
inline Tensor sinusoidal_embedding(const Tensor& noise, int64_t width, double most, at::ScalarType dtype) {
  const Tensor frequency =
      at::logspace(-2, std::log2(most), width / 2, 2.0, noise.options().dtype(at::kDouble)) * (2 * std::numbers::pi);
  const Tensor angle = noise.to(at::kDouble).unsqueeze(1) * frequency;
  return at::cat({angle.cos(), angle.sin()}, 1).to(dtype);
}

/// Layers that take in the numbers which a model is given with every row beside the noise label: guidance weights, end
/// times. Each is called as its input, and zero at first, so that a student begins as a teacher without it.
class NumberInputs {
 public:
  NumberInputs() = default;
  /// `width` cosines and sines of each number, of frequencies up to `most`; `embedding` features that come out.
  NumberInputs(torch::nn::Module& owner, const ModelSpec& spec, int64_t width, double most, int64_t embedding)
      : width_(width), most_(most) {
    const at::NoGradGuard no_grad;
    for (const Input& input : spec.inputs) {
      if (input.shape.empty() && input.classes == 0) {
        torch::nn::Linear layer(torch::nn::LinearOptions(width, embedding).bias(false));
        layer->weight.zero_();
        layers_.emplace_back(input.name, owner.register_module(input.name, layer));
      }
    }
  }

  /// `features`: [B, embedding], with those of every number that is given.
  Tensor add_to(Tensor features, const Conditioning& condition) const {
    for (auto& [name, layer] : layers_) {
      if (const Tensor number = condition[name]; number.defined()) {
        features = features + layer->forward(sinusoidal_embedding(number, width_, most_, features.scalar_type()));
      }
    }
    return features;
  }

  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [name, layer] : layers_) {
      out.push_back(name);
    }
    return out;
  }
  /// What `Network::weights_of` says of an input.
  std::string weights_of(const std::string& input) const {
    for (const auto& [name, layer] : layers_) {
      if (name == input) {
        return name + ".";
      }
    }
    return "";
  }

 private:
  int64_t width_ = 0;
  double most_ = 0;
  mutable std::vector<std::pair<std::string, torch::nn::Linear>> layers_;
};

/// The inputs of a network that takes class labels and such numbers.
inline std::vector<std::string> input_names(bool labels, const NumberInputs& numbers) {
  std::vector<std::string> out = numbers.names();
  if (labels) {
    out.emplace_back(inputs::labels);
  }
  return out;
}

}  // namespace retort
