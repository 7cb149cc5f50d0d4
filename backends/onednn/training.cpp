#include "training.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
#include <torch/csrc/jit/ir/ir.h>
#include <retort/error.h>
#include <retort/recompute.h>
#include <torch/nn/module.h>

#include <chrono>
#include <map>
#include <optional>
#include <unordered_map>

#include "graph.h"
#include "lowering.h"

namespace retort {

namespace jit = torch::jit;
namespace kernels_of = retort_onednn;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

Tensor channels_innermost(const Tensor& x) { return x.to(at::kFloat).contiguous(at::MemoryFormat::ChannelsLast); }
const float* numbers(const Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }

// One layer's primitives, made once and given the weights of each step.
class TrainedConvolution {
 public:
  TrainedConvolution(const kernels_of::Kernels& kernels, const kernels_of::ConvolutionShape& shape)
      : kernels_(kernels), shape_(shape), forward_(kernels.make_convolution(shape)) {
    // The gradient by src is a convolution too: of the turned weights, from out to in.
    kernels_of::ConvolutionShape turned = shape;
    std::swap(turned.in_channels, turned.out_channels);
    turned.bias = turned.residual = false;
    turned.factor = 1;
    backward_ = kernels.make_convolution(turned);
  }
  ~TrainedConvolution() {
    kernels_.free_operation(forward_);
    kernels_.free_operation(backward_);
  }
  TrainedConvolution(const TrainedConvolution&) = delete;
  TrainedConvolution& operator=(const TrainedConvolution&) = delete;

  bool works() const { return forward_ != nullptr && backward_ != nullptr; }

  float factor() const { return shape_.factor; }

  Tensor forward(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& residual) {
    const Tensor w = weight.contiguous(), b = bias.defined() ? bias.contiguous() : bias;
    kernels_.set_weights(forward_, numbers(w), numbers(b));
    return run(forward_, x, residual, shape_.out_channels);
  }
  Tensor backward(const Tensor& gradient, const Tensor& weight) {
    const Tensor turned = weight.flip({2, 3}).transpose(0, 1).contiguous();
    kernels_.set_weights(backward_, numbers(turned), nullptr);
    return run(backward_, gradient, {}, shape_.in_channels);
  }
  std::pair<Tensor, Tensor> by_weights(const Tensor& x, const Tensor& gradient, const Tensor& weight) {
    const Tensor w = at::empty(weight.sizes()), b = at::empty({weight.size(0)});
    if (kernels_.weight_gradient(shape_, numbers(x), numbers(gradient), w.mutable_data_ptr<float>(),
                                 b.mutable_data_ptr<float>())) {
      return {w, b};
    }
    const std::vector<int64_t> padding = {shape_.padding_height, shape_.padding_width}, one = {1, 1}, none = {0, 0};
    auto [unused, by_weight, by_bias] = at::convolution_backward(
        gradient, x, weight, at::IntArrayRef{weight.size(0)}, one, padding, one, false, none, 1, {false, true, true});
    return {by_weight, by_bias};
  }

 private:
  Tensor run(kernels_of::Operation* operation, const Tensor& x, const Tensor& residual, int64_t channels) const {
    Tensor out = at::empty({shape_.batch, channels, shape_.out_height, shape_.out_width},
                           at::TensorOptions().memory_format(at::MemoryFormat::ChannelsLast));
    kernels_.run(operation, x.const_data_ptr(), residual.defined() ? residual.const_data_ptr() : nullptr,
                 out.mutable_data_ptr());
    return out;
  }

  const kernels_of::Kernels& kernels_;
  kernels_of::ConvolutionShape shape_;
  kernels_of::Operation *forward_ = nullptr, *backward_ = nullptr;
};

using Given = std::optional<Tensor>;  // a tensor that may be missing

// What a backward pass needs, alive as long as the graph that will ask for it.
template <class T>
struct Kept : torch::CustomClassHolder {
  explicit Kept(std::shared_ptr<T> value) : value(std::move(value)) {}
  std::shared_ptr<T> value;
  static c10::IValue as_value(std::shared_ptr<T> value) {
    return c10::IValue::make_capsule(c10::make_intrusive<Kept>(std::move(value)));
  }
  static std::shared_ptr<T> of(const c10::IValue& kept) {
    return c10::static_intrusive_pointer_cast<Kept>(kept.toCapsule())->value;
  }
};

// factor * (convolution + residual)
struct ConvolutionFunction : torch::autograd::Function<ConvolutionFunction> {
  static Tensor forward(AutogradContext* context, const std::shared_ptr<TrainedConvolution>& layer, const Tensor& x,
                        const Tensor& weight, const Given& given_bias, const Given& residual) {
    const Tensor in = channels_innermost(x), bias = given_bias.value_or(Tensor());
    context->save_for_backward({in, weight});
    context->saved_data["layer"] = Kept<TrainedConvolution>::as_value(layer);
    context->saved_data["bias"] = bias.defined();
    context->saved_data["residual"] = residual.has_value();
    return layer->forward(in, weight, bias, residual ? channels_innermost(*residual) : Tensor());
  }
  // LibTorch counts the inputs that are tensors: x, weight, bias.
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const auto layer = Kept<TrainedConvolution>::of(context->saved_data["layer"]);
    const Tensor given = channels_innermost(gradients[0]);
    const Tensor gradient = layer->factor() == 1 ? given : given * layer->factor();
    Tensor by_x, by_weight, by_bias;
    if (context->needs_input_grad(0)) {
      by_x = layer->backward(gradient, saved[1]);
    }
    const bool bias = context->saved_data["bias"].toBool();
    if (context->needs_input_grad(1) || (bias && context->needs_input_grad(2))) {
      std::tie(by_weight, by_bias) = layer->by_weights(saved[0], gradient, saved[1]);
    }
    return {Tensor(), by_x, by_weight, bias ? by_bias : Tensor(),
            context->saved_data["residual"].toBool() ? gradient : Tensor()};
  }
};

struct NormSettings {
  const kernels_of::Kernels* kernels;
  int64_t groups;
  float epsilon, scale_offset;
  bool silu;
};

kernels_of::Norm norm_of(const NormSettings& s, const Tensor& x, const Tensor& weight, const Tensor& bias,
                         const Tensor& scale, const Tensor& shift) {
  kernels_of::Norm out{};
  out.batch = x.size(0);
  out.channels = x.size(1);
  out.positions = x.numel() / (x.size(0) * x.size(1));
  out.groups = s.groups;
  out.epsilon = s.epsilon;
  out.silu = s.silu;
  out.src = x.const_data_ptr();
  out.weight = numbers(weight);
  out.bias = numbers(bias);
  if (scale.defined()) {
    out.scale = {numbers(scale), out.channels};
    out.shift = {numbers(shift), out.channels};
    out.scale_offset = s.scale_offset;
  }
  return out;
}

// silu?(norm(x) * (scale + offset) + shift)
struct NormFunction : torch::autograd::Function<NormFunction> {
  static Tensor forward(AutogradContext* context, const std::shared_ptr<NormSettings>& settings, const Tensor& x,
                        const Given& given_weight, const Given& given_bias, const Given& scale, const Given& shift) {
    const Tensor in = channels_innermost(x);
    const auto dense = [](const Given& t) { return t ? t->contiguous() : Tensor(); };
    const Tensor weight = dense(given_weight), bias = dense(given_bias);
    const Tensor a = scale ? scale->contiguous() : Tensor(), b = scale ? shift->contiguous() : Tensor();
    Tensor out = at::empty_like(in, at::TensorOptions(), at::MemoryFormat::ChannelsLast);
    kernels_of::Norm norm = norm_of(*settings, in, weight, bias, a, b);
    norm.dst = out.mutable_data_ptr();
    settings->kernels->group_norm(norm);
    context->save_for_backward({in, weight, bias, a, b});
    context->saved_data["settings"] = Kept<NormSettings>::as_value(settings);
    return out;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &scale = saved[3], &shift = saved[4];
    const auto settings = Kept<NormSettings>::of(context->saved_data["settings"]);
    const Tensor gradient = channels_innermost(gradients[0]);
    Tensor by_x = at::empty_like(x, at::TensorOptions(), at::MemoryFormat::ChannelsLast);
    const Tensor sums = at::empty({x.size(0), x.size(1)}), products = at::empty({x.size(0), x.size(1)});
    settings->kernels->group_norm_gradient({norm_of(*settings, x, weight, bias, scale, shift), numbers(gradient),
                                            by_x.mutable_data_ptr<float>(), sums.mutable_data_ptr<float>(),
                                            products.mutable_data_ptr<float>()});
    Tensor by_weight, by_bias, by_scale, by_shift;
    Tensor scaled_sums = sums, scaled_products = products;
    if (scale.defined()) {
      const Tensor factor = scale.flatten(1) + settings->scale_offset;
      scaled_sums = sums * factor;
      scaled_products = products * factor;
      by_shift = sums.view_as(shift);
      by_scale = weight.defined() ? products * weight : products;
      by_scale = (bias.defined() ? by_scale + sums * bias : by_scale).view_as(scale);
    }
    if (weight.defined()) {
      by_weight = scaled_products.sum(0);
    }
    if (bias.defined()) {
      by_bias = scaled_sums.sum(0);
    }
    return {Tensor(), by_x, by_weight, by_bias, by_scale, by_shift};
  }
};

// A traced network that is run under autograd.
class TrainedGraph {
 public:
  TrainedGraph(const TracedNetwork& traced, const kernels_of::Kernels& kernels)
      : kernels_(kernels), graph_(traced.graph) {
    for (const jit::Value* v : traced.inputs) {
      inputs_.push_back(slot(v));
      made_.insert(v);
    }
    // The network's own tensors, so that gradients reach each of them.
    for (const auto& [value, weight] : traced.weights) {
      initial_[slot(value)] = weight;
      made_.insert(value);
      weights_.insert(value);
    }
    for (jit::Node* node : graph_->nodes()) {
      if (node->kind() == c10::prim::Constant) {
        initial_[slot(node->output())] = *jit::toIValue(node->output());
      }
    }
    for (jit::Node* node : graph_->nodes()) {
      if (node->kind() != c10::prim::Constant && !done_.contains(node) && !take_convolution(node) && !take_norm(node)) {
        take_other(node);
      }
    }
    output_ = slot(graph_->outputs()[0]);
    find_deaths();
  }

  Tensor run(const NetworkInputs& in) {
    std::vector<c10::IValue> slots = initial_;
    size_t i = 0;
    for (const Tensor& t : in.tensors()) {
      slots[inputs_[i++]] = t;
    }
    for (Step& step : steps_) {
      step.run(slots);
      for (const size_t dead : step.dead) {
        slots[dead] = {};
      }
    }
    return slots[output_].toTensor();
  }

 private:
  struct Step {
    std::function<void(std::vector<c10::IValue>&)> run;
    std::vector<size_t> reads, writes, dead;
  };

  size_t slot(const jit::Value* value) {
    const auto [found, made] = numbers_.emplace(value, initial_.size());
    if (made) {
      initial_.emplace_back();
    }
    return found->second;
  }
  const c10::IValue& constant(const jit::Value* value) { return initial_[slot(value)]; }
  bool is_constant(const jit::Value* value) const { return value->node()->kind() == c10::prim::Constant; }
  // Whether it is there before the first step: a weight, a constant, or None.
  bool is_given(const jit::Value* value) const { return is_constant(value) || weights_.contains(value); }
  // A float32 tensor of so many dimensions that is given, or None where `optional`.
  bool is_given_tensor(const jit::Value* value, int64_t dimensions, bool optional) {
    if (!is_given(value)) {
      return false;
    }
    const c10::IValue& v = initial_[slot(value)];
    return v.isNone() ? optional
                      : v.isTensor() && v.toTensor().dim() == dimensions && v.toTensor().scalar_type() == at::kFloat;
  }
  std::optional<double> number(const jit::Value* value) {
    if (!is_constant(value)) {
      return {};
    }
    const c10::IValue& c = constant(value);
    if (c.isTensor() && c.toTensor().defined() && c.toTensor().dim() == 0) {
      return c.toTensor().item<double>();
    }
    return c.isScalar() ? std::optional(c.toScalar().toDouble()) : std::nullopt;
  }
  // All of a list of numbers, where it is known and they are equal.
  std::optional<int64_t> all_equal(const jit::Value* value) {
    std::vector<int64_t> list;
    if (is_constant(value) && constant(value).isIntList()) {
      list = constant(value).toIntVector();
    } else if (value->node()->kind() == c10::prim::ListConstruct) {
      for (const jit::Value* v : value->node()->inputs()) {
        const auto n = number(v);
        list.push_back(n ? static_cast<int64_t>(*n) : -1);
      }
    }
    const bool equal = !list.empty() && std::all_of(list.begin(), list.end(), [&](int64_t n) { return n == list[0]; });
    return equal ? std::optional(list[0]) : std::nullopt;
  }

  // Convolutions that keep the picture's size [+ residual] [* factor], where the residual is there before.
  bool take_convolution(jit::Node* node) {
    if (!is(node, "aten::_convolution") || !is_given_tensor(node->input(1), 4, false) ||
        !is_given_tensor(node->input(2), 1, true) || number(node->input(6)) != 0.0 || number(node->input(8)) != 1.0) {
      return false;
    }
    const std::vector<int64_t> in = sizes_of(node->input(0)), out = sizes_of(node->output());
    const Tensor weight = constant(node->input(1)).toTensor();
    const auto stride = all_equal(node->input(3)), padding = all_equal(node->input(4));
    if (in.size() != 4 || stride != 1 || all_equal(node->input(5)) != 1 || !padding ||
        weight.size(2) != weight.size(3) || weight.size(2) != 2 * *padding + 1) {
      return false;
    }
    const jit::Value *result = node->output(), *residual = nullptr;
    float factor = 1;
    std::vector<const jit::Node*> fused;
    const jit::Node* next = only_user(result);
    if (next != nullptr && is(next, "aten::add") && number(next->input(2)) == 1.0) {
      const jit::Value* other = next->input(0) == result ? next->input(1) : next->input(0);
      if (other != result && sizes_of(other) == out && made_.contains(other)) {
        residual = other;
        result = next->output();
        fused.push_back(next);
        next = only_user(result);
        if (next != nullptr && is(next, "aten::mul") && next->input(0) == result && number(next->input(1))) {
          factor = static_cast<float>(*number(next->input(1)));
          result = next->output();
          fused.push_back(next);
        }
      }
    }
    auto layer = std::make_shared<TrainedConvolution>(
        kernels_, kernels_of::ConvolutionShape{.batch = in[0],
                                               .in_channels = in[1],
                                               .in_height = in[2],
                                               .in_width = in[3],
                                               .out_channels = out[1],
                                               .out_height = out[2],
                                               .out_width = out[3],
                                               .kernel_height = weight.size(2),
                                               .kernel_width = weight.size(3),
                                               .padding_height = *padding,
                                               .padding_width = *padding,
                                               .bias = !constant(node->input(2)).isNone(),
                                               .residual = residual != nullptr,
                                               .factor = factor});
    if (!layer->works()) {
      return false;
    }
    done_.insert(fused.begin(), fused.end());
    const size_t x = slot(node->input(0)), w = slot(node->input(1)), b = slot(node->input(2)), y = slot(result);
    const size_t r = residual != nullptr ? slot(residual) : x;
    const bool adds = residual != nullptr;
    made_.insert(result);
    steps_.push_back({[layer, x, w, b, r, y, adds](std::vector<c10::IValue>& slots) {
                        slots[y] = ConvolutionFunction::apply(layer, slots[x].toTensor(), slots[w].toTensor(),
                                                              slots[b].toOptional<Tensor>(),
                                                              adds ? slots[r].toOptional<Tensor>() : Given());
                      },
                      {x, w, b, r},
                      {y},
                      {}});
    return true;
  }

  // group_norm [* scale + shift] [silu] of pictures
  bool take_norm(jit::Node* node) {
    if (!is(node, "aten::group_norm") || sizes_of(node->output()).size() != 4 ||
        !is_given_tensor(node->input(2), 1, true) || !is_given_tensor(node->input(3), 1, true) ||
        !number(node->input(1)) || !number(node->input(4))) {
      return false;
    }
    const std::vector<int64_t> sizes = sizes_of(node->output());
    auto settings =
        std::make_shared<NormSettings>(NormSettings{&kernels_, static_cast<int64_t>(*number(node->input(1))),
                                                    static_cast<float>(*number(node->input(4))), 0, false});
    const jit::Value *result = node->output(), *scale = nullptr, *shift = nullptr;
    const std::vector<int64_t> vectors = {sizes[0], sizes[1], 1, 1};
    const jit::Node* next = only_user(result);
    if (next != nullptr && is(next, "aten::addcmul") && number(next->input(3)) == 1.0) {
      const jit::Value* factor = next->input(1) == result ? next->input(2) : next->input(1);
      if (sizes_of(factor) == vectors && sizes_of(next->input(0)) == vectors && made_.contains(factor) &&
          made_.contains(next->input(0))) {
        scale = factor;
        shift = next->input(0);
        done_.insert(next);
        result = next->output();
        next = only_user(result);
      }
    }
    if (next != nullptr && is(next, "aten::silu")) {
      settings->silu = true;
      done_.insert(next);
      result = next->output();
    }
    made_.insert(result);
    const size_t x = slot(node->input(0)), w = slot(node->input(2)), b = slot(node->input(3)), y = slot(result);
    const size_t s = scale != nullptr ? slot(scale) : 0, m = scale != nullptr ? slot(shift) : 0;
    const bool scaled = scale != nullptr;
    steps_.push_back({[settings, x, w, b, s, m, y, scaled](std::vector<c10::IValue>& slots) {
                        const auto given = [&](size_t i) { return slots[i].toOptional<Tensor>(); };
                        slots[y] = NormFunction::apply(settings, slots[x].toTensor(), given(w), given(b),
                                                       scaled ? given(s) : Given(), scaled ? given(m) : Given());
                      },
                      scaled ? std::vector<size_t>{x, w, b, s, m} : std::vector<size_t>{x, w, b},
                      {y},
                      {}});
    return true;
  }

  void take_other(jit::Node* node) {
    Step step;
    for (const jit::Value* v : node->inputs()) {
      step.reads.push_back(slot(v));
    }
    for (const jit::Value* v : node->outputs()) {
      step.writes.push_back(slot(v));
      made_.insert(v);
    }
    step.run = general_step(node, step.reads, step.writes);
    steps_.push_back(std::move(step));
  }

  void find_deaths() {
    std::vector<size_t> last(initial_.size(), 0);
    for (size_t i = 0; i < steps_.size(); ++i) {
      for (const auto* list : {&steps_[i].reads, &steps_[i].writes}) {
        for (const size_t s : *list) {
          last[s] = i;
        }
      }
    }
    for (const Step& step : std::vector<Step>(steps_)) {
      for (const size_t s : step.writes) {
        if (s != output_) {
          steps_[last[s]].dead.push_back(s);
        }
      }
    }
  }

  const kernels_of::Kernels& kernels_;
  std::shared_ptr<jit::Graph> graph_;
  std::unordered_map<const jit::Value*, size_t> numbers_;
  std::vector<c10::IValue> initial_;
  std::vector<Step> steps_;
  std::vector<size_t> inputs_;
  size_t output_ = 0;
  std::unordered_set<const jit::Node*> done_;   // fused into an earlier step
  std::unordered_set<const jit::Value*> made_;  // what the steps so far have computed
  std::unordered_set<const jit::Value*> weights_;
};

class Trained final : public CompiledNetwork {
 public:
  Trained(std::shared_ptr<Network> network, const kernels_of::Kernels& kernels)
      : network_(std::move(network)), kernels_(kernels) {}

  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const NetworkInputs in{x, c_noise, condition};
    // Graphs of these kernels keep all they need for the backward pass.
    if (x.size(0) == 0 || x.scalar_type() != at::kFloat || in.carries_tangents() || Recompute::is_on()) {
      return in.forward(*network_);
    }
    Made& made = graphs_[{in.signature(), network_->module()->is_training()}];
    if (!made.tried) {
      made.tried = true;
      made.graph = make({x.detach(), c_noise, condition});
    }
    return made.graph ? made.graph->run(in) : in.forward(*network_);
  }

 private:
  std::shared_ptr<Network> network_;
  const kernels_of::Kernels& kernels_;
  struct Made {
    bool tried = false;
    std::unique_ptr<TrainedGraph> graph;  // null where the network has to run as it is
  };

  // Null where the network is not the same graph for all numbers, or cannot be traced: LibTorch then runs it.
  std::unique_ptr<TrainedGraph> make(const NetworkInputs& in) {
    std::unique_ptr<TrainedGraph> out;
    try {
      const TracedNetwork traced = trace(*network_, in);
      if (!traced.obstacle.empty()) {
        return nullptr;
      }
      out = std::make_unique<TrainedGraph>(traced, kernels_);
      if (traced.random) {
        return out;
      }
    } catch (const std::exception&) {
      return nullptr;
    }
    const auto run = [&](const NetworkInputs& other) { return out->run(other); };
    constexpr double tolerance = 1e-3;
    return disagreement(*network_, in, tolerance, run).empty() ? std::move(out) : nullptr;
  }

  std::map<std::pair<NetworkInputs::Signature, bool>, Made> graphs_;
};

}  // namespace

std::shared_ptr<CompiledNetwork> make_trainable(std::shared_ptr<Network> network, const kernels_of::Kernels& kernels) {
  return std::make_shared<Trained>(std::move(network), kernels);
}

}  // namespace retort
