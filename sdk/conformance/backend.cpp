#include <ATen/ATen.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cmath>

#include "world.h"

namespace retort::conformance {

namespace {

namespace nn = torch::nn;

// The layers that networks of this field are made of.
struct Body : nn::Module {
  Body() {
    first = register_module("first", nn::Conv2d(nn::Conv2dOptions(2, 8, 3).padding(1)));
    norm = register_module("norm", nn::GroupNorm(nn::GroupNormOptions(4, 8)));
    label = register_module("label", nn::Linear(1, 8));
    last = register_module("last", nn::Conv2d(nn::Conv2dOptions(8, 2, 3).padding(1)));
  }
  nn::Conv2d first{nullptr}, last{nullptr};
  nn::GroupNorm norm{nullptr};
  nn::Linear label{nullptr};
};

// Weights as training begins with them: some are equal then, and a backend must not take one for the other.
enum class Begin { random, equal, zero };

class Probe final : public Network {
 public:
  explicit Probe(Begin begin = Begin::random) : body_(std::make_shared<Body>()) {
    const at::NoGradGuard no_grad;
    uint64_t index = 0;
    for (Tensor& p : body_->parameters()) {
      if (begin == Begin::random) {
        p.copy_(at::randn(p.sizes(), seeded(8, "weights", index++), p.options()) * 0.3);
      } else {
        p.fill_(begin == Begin::equal ? 0.1 : 0.0);
      }
    }
  }
  Tensor forward(const Tensor& x, const Tensor& noise, const Conditioning&) override {
    const Tensor label = body_->label(noise.to(x.scalar_type()).unsqueeze(1));
    return body_->last(at::silu(body_->norm(body_->first(x)) + label.unsqueeze(2).unsqueeze(3)));
  }
  std::shared_ptr<nn::Module> module() override { return body_; }
  Tensor& weight() { return body_->first->weight; }

 private:
  std::shared_ptr<Body> body_;
};

Tensor input(int64_t n) {
  return at::randn({n, 2, 12, 12}, seeded(8, "input"), at::TensorOptions().dtype(at::kDouble));
}
Tensor levels(int64_t n) { return at::linspace(-1, 1, n, at::kFloat); }

struct Reference {
  Tensor output;
  std::vector<Tensor> gradients;  // of every parameter
};

std::vector<Tensor> gradients_of(Probe& probe) {
  std::vector<Tensor> out;
  for (const Tensor& p : probe.module()->parameters()) {
    out.push_back(p.grad());
  }
  return out;
}

// The same weights in float64 by LibTorch alone.
Reference reference(int64_t n, double scale = 1, Begin begin = Begin::random) {
  Probe probe(begin);
  probe.module()->to(at::kDouble);
  {
    const at::NoGradGuard no_grad;
    probe.weight().mul_(scale);
  }
  const Tensor y = probe.forward(input(n), levels(n), {});
  (y + 1).square().sum().backward();
  return {y.detach(), gradients_of(probe)};
}

double apart(const Tensor& a, const Tensor& b) {
  const Tensor home = a.detach().to(at::kCPU, at::kDouble);
  return all_finite(home) ? rms(home - b) / rms(b) : HUGE_VAL;
}

// The greatest error of a gradient, each against its own size; those that are next to nothing, against the greatest.
double most_apart(const std::vector<Tensor>& got, const std::vector<Tensor>& exact) {
  double whole = 1e-30, out = 0;
  for (const Tensor& e : exact) {
    whole = std::max(whole, rms(e) * std::sqrt(static_cast<double>(e.numel())));
  }
  for (size_t i = 0; i < exact.size(); ++i) {
    if (!got[i].defined()) {
      return HUGE_VAL;
    }
    const double numbers = std::sqrt(static_cast<double>(exact[i].numel()));
    const double off = rms(got[i].to(at::kCPU, at::kDouble) - exact[i]) * numbers;
    out = std::max(out, off / (rms(exact[i]) * numbers + 1e-2 * whole));
  }
  return std::isnan(out) ? HUGE_VAL : out;
}

}  // namespace

void check_backend(const Subject& subject, Findings& out) {
  World world(make_process("ve"), {{2, 12, 12}}, subject.host);
  std::shared_ptr<Backend> backend;
  out.run("is built", [&] { backend = world.build<Backend>(subject); });
  if (!backend) {
    return;
  }
  const double tolerance = backend->tolerance();
  const auto inputs = [&](int64_t n) {
    return std::pair(input(n).to(backend->device(), backend->dtype()), levels(n).to(backend->device()));
  };
  out.run("describes itself", [&] {
    const bool known = backend->dtype() == at::kFloat || backend->dtype() == at::kDouble;
    out.add("type of the states", known, c10::toString(backend->dtype()), "Float or Double");
    out.add("describes itself", !backend->describe().empty(), backend->describe(), "a line for logs");
  });
  out.run("compiled", [&] {
    const auto network = std::make_shared<Probe>();
    backend->place(*network);
    const auto compiled = backend->compile(network);
    for (const int64_t n : {1, 7, 32}) {
      const auto [x, noise] = inputs(n);
      const Tensor y = (*compiled)(x, noise, {});
      out.at_most("compiled, a batch of " + std::to_string(n), apart(y, reference(n).output), tolerance,
                  "relative error against float64");
      out.add("compiled output has no gradient, batch " + std::to_string(n), !y.requires_grad(),
              y.requires_grad() ? "it has one" : "none", "none");
    }
    const auto [x, noise] = inputs(7);
    Given given;
    given("x", x);
    given("noise", noise);
    const bool same = same_bits((*compiled)(x, noise, {}), (*compiled)(x, noise, {}));
    given.check(out);
    out.add("deterministic", same, same ? "equal bits" : "differs", "equal bits from equal inputs");
    {
      const at::NoGradGuard no_grad;
      network->weight().mul_(1.5);
    }
    compiled->refresh();
    out.at_most("refresh follows the weights", apart((*compiled)(x, noise, {}), reference(7, 1.5).output), tolerance,
                "relative error after a change");
  });
  out.run("trainable", [&] {
    const auto network = std::make_shared<Probe>();
    backend->place(*network);
    const auto trainable = backend->trainable(network);
    const auto [x, noise] = inputs(7);
    const Tensor y = (*trainable)(x, noise, {});
    const Reference expected = reference(7);
    out.at_most("trainable", apart(y, expected.output), tolerance, "relative error against float64");
    for (const auto& [name, begin] :
         {std::pair("random", Begin::random), std::pair("equal", Begin::equal), std::pair("zero", Begin::zero)}) {
      const auto from = std::make_shared<Probe>(begin);
      backend->place(*from);
      (((*backend->trainable(from))(x, noise, {})) + 1).square().sum().backward();
      out.at_most("gradients of every parameter, from " + std::string(name) + " weights",
                  most_apart(gradients_of(*from), reference(7, 1, begin).gradients), 10 * tolerance,
                  "greatest relative error against float64");
    }
    {
      const at::NoGradGuard no_grad;
      network->weight().mul_(1.5);
    }
    out.at_most("trainable reads its weights at every call",
                apart((*trainable)(x, noise, {}), reference(7, 1.5).output), tolerance,
                "relative error after a change");
  });
}

}  // namespace retort::conformance
