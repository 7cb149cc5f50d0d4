#include "train/weights.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include "retort/error.h"

namespace retort {

Weights::Weights(Network& network) {
  for (const auto& item : network.module()->named_parameters()) {
    names.push_back(item.key());
    tensors.push_back(item.value());
  }
  parameter_count = names.size();
  for (const auto& item : network.module()->named_buffers()) {
    names.push_back(item.key());
    tensors.push_back(item.value());
  }
}

std::vector<Tensor> Weights::copy() const {
  std::vector<Tensor> out;
  for (const Tensor& t : tensors) {
    out.push_back(t.detach().clone());
  }
  return out;
}

void Weights::assign(const std::vector<Tensor>& to, const std::vector<Tensor>& values) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < to.size(); ++i) {
    Tensor(to[i]).copy_(values[i]);
  }
}

std::vector<Tensor> Weights::copy_buffers() const {
  std::vector<Tensor> out;
  for (size_t i = parameter_count; i < tensors.size(); ++i) {
    out.push_back(tensors[i].detach().clone());
  }
  return out;
}

void Weights::assign_buffers(const std::vector<Tensor>& values) const {
  assign({tensors.begin() + static_cast<std::ptrdiff_t>(parameter_count), tensors.end()}, values);
}

void Weights::store(const std::string& prefix, const std::vector<Tensor>& values,
                    std::map<std::string, Tensor>& out) const {
  for (size_t i = 0; i < values.size(); ++i) {
    out[prefix + names[i]] = values[i];
  }
}

std::vector<Tensor> Weights::restore(const std::string& prefix, const std::map<std::string, Tensor>& from) const {
  std::vector<Tensor> out;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto found = from.find(prefix + names[i]);
    if (found == from.end() || found->second.sizes() != tensors[i].sizes()) {
      throw Error("the saved state lacks '" + prefix + names[i] + "'");
    }
    out.push_back(at::empty_like(tensors[i]).copy_(found->second));  // in the weight's own memory layout
  }
  return out;
}

void check_trainable(const std::vector<Tensor>& parameters, const std::string& whose) {
  for (const Tensor& p : parameters) {
    if (p.is_floating_point() && c10::elementSize(p.scalar_type()) < sizeof(float)) {
      throw RequestError("backend.weights: keeps those of " + whose + " in " +
                         std::string(c10::toString(p.scalar_type())) +
                         ", as their file has them, and what is trained needs float32; expected \"converted\", or "
                         "student.merged = false, which trains a change beside them");
    }
  }
}

void move_average(const std::vector<Tensor>& average, const std::vector<Tensor>& values, double decay) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < average.size(); ++i) {
    if (average[i].is_floating_point()) {
      Tensor(average[i]).lerp_(values[i].detach(), 1 - decay);
    } else {  // counters, such as BatchNorm's
      Tensor(average[i]).copy_(values[i]);
    }
  }
}

}  // namespace retort
