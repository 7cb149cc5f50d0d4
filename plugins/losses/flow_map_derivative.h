/// Derivatives of the average velocity u(x, t, s) in x and both times, of which losses of flow maps are made.
#pragma once

#include <retort/error.h>
#include <retort/forward_mode.h>
#include <retort/loss.h>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <string>
#include <unordered_set>
#include <vector>

namespace retort {

/// d/de u(x + e dx, t + e dt, s + e ds) at e = 0.
struct MapDirection {
  Tensor dx;  // [B, …]; undefined: 0
  double dt = 0, ds = 0;
};

/// The derivative in forward mode, or by a central difference, for any network and backend.
class MapDerivative {
 public:
  /// From the keys `derivative` and `difference_step`.
  MapDerivative(Params& p, const std::string& fallback)
      : forward_(
            p.choice("derivative", fallback, {"jvp", "difference"},
                     "of the network: jvp: in forward mode; difference: central difference of two evaluations, for "
                     "any network and backend") == "jvp"),
        step_(p.get("difference_step", 0.005, "derivative = \"difference\": half its width, of the noisiest time",
                    {.low = 0, .high = 0.5, .low_open = true})) {}

  struct Value {
    Tensor output;      // u(x, t, s), differentiable
    Tensor derivative;  // differentiable where that was asked for
  };
  /// condition: without the end time.
  Value operator()(const Model& u, const Tensor& x, const Tensor& t, const Tensor& s, const Conditioning& condition,
                   const MapDirection& along, bool differentiable = false) const {
    if (forward_) {
      Value out = in_forward_mode(u, x, t, s, condition, along);
      if (differentiable) {
        refuse_softmax(out.derivative);
        return out;
      }
      return {out.output, out.derivative.detach()};
    }
    Value out{u.raw(x, t, with_end(condition, s)), {}};
    const at::AutoGradMode mode(differentiable && at::GradMode::is_enabled());
    const double h = step_ * u.process().t_max();
    const auto moved = [&](double by) {
      const Tensor end = s.defined() ? s + by * along.ds : s;
      return u.raw(along.dx.defined() ? x + by * along.dx : x, t + by * along.dt, with_end(condition, end));
    };
    out.derivative = (moved(h) - moved(-h)) / (2 * h);
    return out;
  }

 private:
  static Conditioning with_end(const Conditioning& condition, const Tensor& s) {
    return s.defined() ? condition.with(inputs::end_time, s) : condition;
  }

  // A smooth function of time and its slope: fourth order, in float64, to about twelve digits.
  template <class F>
  static Tensor slope(F f, const Tensor& t, double scale) {
    const double h = 1e-3 * scale;
    return (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h);
  }

  // As Model::tangent, which knows no direction in s and no gradient of the derivative.
  static Value in_forward_mode(const Model& u, const Tensor& x, const Tensor& t, const Tensor& s,
                               const Conditioning& condition, const MapDirection& along) {
    const double scale = std::min(1.0, u.process().t_max());
    const auto c_in = [&](const Tensor& time) { return u.parametrisation().c_in(u.process(), time); };
    const auto label = [&](const Tensor& time) { return u.parametrisation().c_noise(u.process(), time); };
    const auto options = x.options().dtype(at::kFloat);
    const Tensor scale_in = rows(c_in(t), x);
    Tensor d_input = along.dx.defined() ? scale_in * along.dx : at::zeros_like(x);
    Tensor d_label = at::zeros_like(t);
    if (along.dt != 0) {
      d_input = d_input + rows(along.dt * slope(c_in, t, scale), x) * x;
      d_label = along.dt * slope(label, t, scale);
    }
    Conditioning given = condition;
    if (const Tensor w = condition[inputs::guidance]; w.defined()) {
      given.set(inputs::guidance, w.log1p().to(options));
    }
    const ForwardMode forward;
    if (s.defined()) {
      const Tensor d_end = along.ds != 0 ? d_label - along.ds * slope(label, s, scale) : d_label;
      given.set(inputs::end_time, forward.with((label(t) - label(s)).to(options), d_end));
    }
    const Tensor input = forward.with(scale_in * x, d_input), c_noise = forward.with(label(t).to(options), d_label);
    const ForwardMode::Value said =
        forward.of([&] { return u.network()(input, c_noise, given); }, "loss.derivative = \"difference\" needs none");
    return {said.output.to(x.scalar_type()), said.derivative.to(x.scalar_type())};
  }

  // LibTorch overwrites exp(x - max x), of which the derivative of a softmax is made, though that derivative's own
  // gradient asks for it: the backward pass would throw, and not say why. The maximum tells.
  static void refuse_softmax(const Tensor& derivative) {
    std::vector<torch::autograd::Node*> left;
    std::unordered_set<torch::autograd::Node*> seen;
    const auto visit = [&](torch::autograd::Node* node) {
      if (node != nullptr && seen.insert(node).second) {
        left.push_back(node);
      }
    };
    visit(derivative.grad_fn().get());
    while (!left.empty()) {
      torch::autograd::Node* const node = left.back();
      left.pop_back();
      if (node->name().find("AmaxBackward") != std::string::npos) {
        throw Error(
            "the forward-mode derivative of the network's softmax has no gradient in LibTorch; expected "
            "loss.derivative = \"difference\"");
      }
      for (const torch::autograd::Edge& edge : node->next_edges()) {
        visit(edge.function.get());
      }
    }
  }

  bool forward_;
  double step_;
};

}  // namespace retort
