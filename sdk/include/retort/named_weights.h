/// Weights of a module of elsewhere, under their own names.
#pragma once

#include <torch/nn/module.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "retort/tensor.h"

namespace retort {

/// Modules within modules, as the dots in the names say. The tensors are shared, not copied.
class NamedWeights final : public torch::nn::Module {
 public:
  void add_parameter(const std::string& dotted, const Tensor& weight, bool requires_grad) {
    const auto [module, own_name] = place_of(dotted);
    module->register_parameter(own_name, weight, requires_grad);
  }
  void add_buffer(const std::string& dotted, const Tensor& buffer) {
    const auto [module, own_name] = place_of(dotted);
    module->register_buffer(own_name, buffer);
  }

 private:
  NamedWeights* within(const std::string& name) {
    if (const auto found = children_.find(name); found != children_.end()) {
      return found->second.get();
    }
    return children_.emplace(name, register_module(name, std::make_shared<NamedWeights>())).first->second.get();
  }
  // Returns the module to which a dotted name belongs, and the name within it.
  std::pair<NamedWeights*, std::string> place_of(const std::string& dotted) {
    NamedWeights* at = this;
    size_t begin = 0;
    for (size_t dot = dotted.find('.'); dot != std::string::npos; dot = dotted.find('.', begin)) {
      at = at->within(dotted.substr(begin, dot - begin));
      begin = dot + 1;
    }
    return {at, dotted.substr(begin)};
  }

  std::map<std::string, std::shared_ptr<NamedWeights>> children_;
};

}  // namespace retort
