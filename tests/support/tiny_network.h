/// A network small enough for a test's formula to repeat it, and a schedule that says what it is told to.
#pragma once

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "retort/network.h"
#include "retort/schedule.h"

namespace retort::test {

/// F = W2 tanh(W1 [x; columns] + b1) + b2.
struct TinyWeights {
  std::map<std::string, Tensor> at;

  static TinyWeights random(uint64_t seed, int64_t size, int64_t columns, int64_t outputs, int64_t width = 5) {
    at::Generator generator = seeded(seed, "tiny network");
    const auto draw = [&](at::IntArrayRef shape) { return at::randn(shape, generator, at::kDouble) * 0.6; };
    return {{{"W1", draw({width, size + columns})},
             {"b1", draw({width})},
             {"W2", draw({outputs, width})},
             {"b2", draw({outputs})}}};
  }
  /// The same numbers as leaves of a graph of their own.
  TinyWeights leaves() const {
    TinyWeights out;
    for (const auto& [name, tensor] : at) {
      out.at[name] = tensor.detach().clone().requires_grad_(true);
    }
    return out;
  }
  Tensor operator()(const Tensor& x, const std::vector<Tensor>& columns) const {
    std::vector<Tensor> all = {x};
    for (const Tensor& c : columns) {
      all.push_back(c.to(at::kDouble).unsqueeze(1));
    }
    return at::linear(at::linear(at::cat(all, 1), at.at("W1"), at.at("b1")).tanh(), at.at("W2"), at.at("b2"));
  }
};

/// It as a network: its columns are the noise label, and what is given of the guidance weight and the end time.
class TinyNetwork final : public Network {
 public:
  explicit TinyNetwork(const TinyWeights& weights) : module_(std::make_shared<torch::nn::Module>()) {
    for (const auto& [name, tensor] : weights.at) {
      module_->register_parameter(name, tensor.detach().clone());
    }
  }
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    std::vector<Tensor> columns = {c_noise};
    for (const std::string_view name : {retort::inputs::guidance, retort::inputs::end_time}) {
      if (const Tensor given = condition[name]; given.defined()) {
        columns.push_back(given);
      }
    }
    TinyWeights weights;
    for (const auto& p : module_->named_parameters()) {
      weights.at[p.key()] = p.value();
    }
    return weights(x, columns);
  }
  std::shared_ptr<torch::nn::Module> module() override { return module_; }

 private:
  std::shared_ptr<torch::nn::Module> module_;
};

/// A grid that holds the given times, and draws the given intervals of it.
class ToldSchedule final : public Schedule {
 public:
  ToldSchedule(Tensor grid, Tensor intervals) : grid_(std::move(grid)), intervals_(std::move(intervals)) {}
  Tensor times(const Process&, double) const override { return grid_; }
  Tensor draw(int64_t, int64_t, at::Generator) const override { return intervals_; }

 private:
  Tensor grid_, intervals_;
};

}  // namespace retort::test
