#include "train/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace retort {

Optimizer::Optimizer(const Weights& weights, const TrainSettings& settings)
    : settings_(settings), names_(weights.names), parameters_(weights.parameters()) {
  for (const Tensor& p : parameters_) {
    first_.push_back(at::zeros_like(p));
    second_.push_back(at::zeros_like(p));
  }
}

double Optimizer::rate(int64_t step, double spent) const {
  const auto k = static_cast<double>(step);
  const auto warmup = static_cast<double>(settings_.warmup);
  double rate = settings_.learning_rate;
  if (k < warmup) {
    rate *= (k + 1) / warmup;
  } else if (settings_.cosine) {
    const double of_steps = (k - warmup) / std::max(1.0, static_cast<double>(settings_.steps) - warmup);
    const double share = std::max(of_steps, std::min(spent, 1.0));
    rate *= 0.5 * (1 + std::cos(std::numbers::pi * share));
  }
  return rate;
}

void Optimizer::step(int64_t step, int64_t before, double spent) {
  const at::NoGradGuard no_grad;
  const double lr = rate(step, spent);
  std::vector<Tensor> gradients;
  std::vector<Tensor> steps;
  for (Tensor& p : parameters_) {
    Tensor g = p.grad();
    if (!g.defined()) {
      g = at::zeros_like(p);
    } else if (g.strides() != p.strides()) {  // the fused kernels walk memory, so layouts must agree
      g = at::empty_like(p).copy_(g);
    }
    gradients.push_back(g);
    steps.push_back(at::full({}, static_cast<float>(before + 1), p.options().dtype(at::kFloat)));
  }
  const TrainSettings& s = settings_;
  if (s.optimizer == "adam") {
    at::_fused_adam_(parameters_, gradients, first_, second_, {}, steps, lr, s.beta1, s.beta2, s.weight_decay,
                     s.epsilon, false, false);
  } else if (s.optimizer == "adamw") {
    at::_fused_adamw_(parameters_, gradients, first_, second_, {}, steps, lr, s.beta1, s.beta2, s.weight_decay,
                      s.epsilon, false, false);
  } else if (s.optimizer == "sgd") {
    at::_fused_sgd_(parameters_, gradients, s.momentum > 0 ? at::TensorList(first_) : at::TensorList(), s.weight_decay,
                    s.momentum, lr, 0.0, false, false, /*is_first_step=*/before == 0);
  } else {
    radam(gradients, lr, before);
  }
  skip();
}

void Optimizer::reset() {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    first_[i].zero_();
    second_[i].zero_();
  }
}

void Optimizer::skip() {
  for (Tensor& p : parameters_) {
    p.mutable_grad() = Tensor();
  }
}

void Optimizer::radam(const std::vector<Tensor>& gradients, double lr, int64_t before) {
  const double b1 = settings_.beta1, b2 = settings_.beta2;
  const auto k = static_cast<double>(before + 1);
  const double most = 2 / (1 - b2) - 1;                                          // rho_inf
  const double length = most - 2 * k * std::pow(b2, k) / (1 - std::pow(b2, k));  // rho_t
  const double unbias1 = 1 - std::pow(b1, k);
  const double unbias2 = 1 - std::pow(b2, k);
  const double rectify =
      length > 5 ? std::sqrt((length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)) : 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    parameters_[i].mul_(1 - lr * settings_.weight_decay);
    first_[i].lerp_(gradients[i], 1 - b1);
    second_[i].mul_(b2).addcmul_(gradients[i], gradients[i], 1 - b2);
    if (rectify > 0) {
      const Tensor scale = std::sqrt(unbias2) / (second_[i].sqrt() + settings_.epsilon);
      parameters_[i].addcmul_(first_[i], scale, -lr * rectify / unbias1);
    } else {
      parameters_[i].add_(first_[i], -lr / unbias1);
    }
  }
}

void Optimizer::store(std::map<std::string, Tensor>& out, const std::string& prefix) const {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    out[prefix + "optimizer/first/" + names_[i]] = first_[i];
    out[prefix + "optimizer/second/" + names_[i]] = second_[i];
  }
}

void Optimizer::restore(const std::map<std::string, Tensor>& from, const std::string& prefix) {
  for (size_t i = 0; i < parameters_.size(); ++i) {
    for (const auto& [part, list] :
         {std::pair("optimizer/first/", &first_), std::pair("optimizer/second/", &second_)}) {
      const auto found = from.find(prefix + part + names_[i]);
      if (found == from.end() || found->second.sizes() != parameters_[i].sizes()) {
        throw Error("the saved state lacks '" + prefix + part + names_[i] + "'");
      }
      (*list)[i].copy_(found->second);
    }
  }
}

Tensor clip_gradients(const std::vector<Tensor>& parameters, double most, double scale) {
  std::vector<Tensor> gradients;
  for (const Tensor& p : parameters) {
    if (p.grad().defined()) {
      gradients.push_back(p.grad());
    }
  }
  if (gradients.empty()) {
    return at::zeros({});
  }
  const at::NoGradGuard no_grad;
  if (scale != 1) {
    at::_foreach_div_(gradients, scale);
  }
  const Tensor norm = at::stack(at::_foreach_norm(gradients)).norm();
  if (most > 0) {
    at::_foreach_mul_(gradients, (most / (norm + 1e-6)).clamp_max(1));
  }
  return norm;
}

}  // namespace retort
