#include "graph.h"

#include <retort/error.h>

#include <ATen/ATen.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <unordered_map>

namespace retort {

namespace jit = torch::jit;
namespace kernels_of = retort_onednn;

namespace {

std::optional<c10::IValue> constant(const jit::Value* value) {
  return value->node()->kind() == c10::prim::Constant ? jit::toIValue(value) : std::nullopt;
}

// A number, also where the tracer made a tensor without dimensions of it.
std::optional<double> number(const jit::Value* value) {
  const auto c = constant(value);
  if (!c) {
    return {};
  }
  if (c->isTensor() && c->toTensor().defined() && c->toTensor().dim() == 0) {
    return c->toTensor().item<double>();
  }
  return c->isScalar() ? std::optional(c->toScalar().toDouble()) : std::nullopt;
}

std::optional<std::vector<int64_t>> integers(const jit::Value* value) {
  if (const auto c = constant(value)) {
    return c->isIntList() ? std::optional(c->toIntVector()) : std::nullopt;
  }
  if (value->node()->kind() != c10::prim::ListConstruct) {
    return {};
  }
  std::vector<int64_t> out;
  for (const jit::Value* item : value->node()->inputs()) {
    const auto n = number(item);
    if (!n) {
      return {};
    }
    out.push_back(static_cast<int64_t>(*n));
  }
  return out;
}

bool is(const jit::Node* node, const char* name) { return node->kind() == c10::Symbol::fromQualString(name); }

// The one node that uses a value, or null.
jit::Node* only_user(const jit::Value* value) { return value->uses().size() == 1 ? value->uses()[0].user : nullptr; }

at::IntArrayRef sizes_of(const jit::Value* value, std::vector<int64_t>& storage) {
  storage = value->type()->expectRef<c10::TensorType>().sizes().concrete_sizes().value_or(std::vector<int64_t>{});
  return storage;
}

}  // namespace

struct Graph::Implementation {
  using Values = std::vector<c10::IValue>;

  // A step reads and writes numbered values.
  struct Step {
    LoweredStep shown;
    std::function<void(Values&)> run;
    std::vector<size_t> reads, writes;
    std::vector<size_t> dead;  // values that nothing reads after this step
  };

  Implementation(const kernels_of::Kernels& k, PackedWeights& w, bool half) : kernels(k), weights(w), bfloat16(half) {}
  ~Implementation() {
    for (kernels_of::Convolution* convolution : convolutions) {
      kernels.free_convolution(convolution);
    }
  }

  const kernels_of::Kernels& kernels;
  PackedWeights& weights;
  const bool bfloat16;
  std::shared_ptr<jit::Graph> graph;
  std::unordered_map<const jit::Value*, size_t> numbers;
  Values initial;  // constants in their places
  std::vector<Step> steps;
  std::vector<LoweredStep> shown;
  std::vector<kernels_of::Convolution*> convolutions;
  std::vector<size_t> inputs;
  size_t output = 0;

  size_t slot(const jit::Value* value) {
    const auto [found, made] = numbers.emplace(value, initial.size());
    if (made) {
      const auto c = constant(value);
      initial.push_back(c ? *c : c10::IValue());
    }
    return found->second;
  }

  at::ScalarType state() const { return bfloat16 ? at::kBFloat16 : at::kFloat; }
  // As the kernels want pictures.
  Tensor picture(const Tensor& x) const { return x.to(state()).contiguous(at::MemoryFormat::ChannelsLast); }

  void lower();
  bool lower_convolution(jit::Node* node, std::vector<const jit::Node*>& done);
  bool lower_norm(jit::Node* node, std::vector<const jit::Node*>& done);
  void lower_other(jit::Node* node);
  void find_deaths();
};

// convolution [+ residual [* factor]]: where the sum is used once, it happens as the convolution writes its result.
bool Graph::Implementation::lower_convolution(jit::Node* node, std::vector<const jit::Node*>& done) {
  // (input, weight, bias, stride, padding, dilation, transposed, output padding, groups, …)
  if (!is(node, "aten::_convolution") || number(node->input(6)) != 0.0) {
    return false;
  }
  const auto weight = constant(node->input(1)), bias = constant(node->input(2));
  const auto stride = integers(node->input(3)), padding = integers(node->input(4)), dilation = integers(node->input(5));
  const auto groups = number(node->input(8));
  std::vector<int64_t> in, out;
  sizes_of(node->input(0), in);
  sizes_of(node->output(), out);
  if (!weight || !bias || !stride || !padding || !dilation || !groups || in.size() != 4 || out.size() != 4 ||
      stride->size() != 2 || padding->size() != 2 || dilation->size() != 2) {
    return false;
  }
  const Tensor w = weight->toTensor();
  const Tensor b = bias->isNone() ? Tensor() : bias->toTensor();
  kernels_of::ConvolutionShape shape{in[0],         in[1],          in[2],          in[3],
                                     out[1],        out[2],         out[3],         w.size(2),
                                     w.size(3),     (*stride)[0],   (*stride)[1],   (*padding)[0],
                                     (*padding)[1], (*dilation)[0], (*dilation)[1], static_cast<int64_t>(*groups),
                                     bfloat16,      b.defined(),    false,          1};
  const jit::Value* result = node->output();
  const jit::Value* residual = nullptr;
  std::vector<const jit::Node*> fused;
  if (jit::Node* sum = only_user(result);
      sum != nullptr && is(sum, "aten::add") && sum->inputs().size() == 3 && number(sum->input(2)) == 1.0) {
    const jit::Value* other = sum->input(0) == result ? sum->input(1) : sum->input(0);
    std::vector<int64_t> other_sizes;
    sizes_of(other, other_sizes);
    // The residual must be there before the convolution runs.
    if (other_sizes == out && other != result && numbers.contains(other)) {
      residual = other;
      shape.residual = true;
      result = sum->output();
      fused.push_back(sum);
      if (jit::Node* product = only_user(result);
          product != nullptr && is(product, "aten::mul") && number(product->input(1))) {
        shape.factor = static_cast<float>(*number(product->input(1)));
        result = product->output();
        fused.push_back(product);
      }
    }
  }
  kernels_of::Convolution* convolution = kernels.make_convolution(shape);
  if (convolution == nullptr) {
    return false;
  }
  convolutions.push_back(convolution);
  weights.give(convolution, w, b);
  done.insert(done.end(), fused.begin(), fused.end());
  const size_t from = slot(node->input(0)), to = slot(result), with = residual != nullptr ? slot(residual) : 0;
  Step step;
  step.shown.what = "convolution " + std::to_string(w.size(1)) + " to " + std::to_string(w.size(0)) + ", " +
                    std::to_string(w.size(2)) + " x " + std::to_string(w.size(3)) + ", at " + std::to_string(out[2]) +
                    " x " + std::to_string(out[3]) + (shape.residual ? " + residual" : "");
  step.shown.how = kernels.implementation(convolution);
  step.reads = {from};
  if (residual != nullptr) {
    step.reads.push_back(with);
  }
  step.writes = {to};
  step.run = [this, convolution, from, to, with, out, has_residual = residual != nullptr](Values& values) {
    const Tensor x = picture(values[from].toTensor());
    const Tensor y = at::empty(out, at::TensorOptions().dtype(state()).memory_format(at::MemoryFormat::ChannelsLast));
    const Tensor r = has_residual ? picture(values[with].toTensor()) : Tensor();
    kernels.convolve(convolution, x.const_data_ptr(), has_residual ? r.const_data_ptr() : nullptr,
                     y.mutable_data_ptr());
    values[to] = y;
  };
  steps.push_back(std::move(step));
  return true;
}

// group_norm [* scale + shift] [silu]
bool Graph::Implementation::lower_norm(jit::Node* node, std::vector<const jit::Node*>& done) {
  if (!is(node, "aten::group_norm")) {
    return false;
  }
  const auto groups = number(node->input(1)), epsilon = number(node->input(4));
  const auto weight = constant(node->input(2)), bias = constant(node->input(3));
  std::vector<int64_t> sizes;
  sizes_of(node->input(0), sizes);
  if (!groups || !epsilon || !weight || !bias || sizes.size() != 4) {
    return false;
  }
  kernels_of::NormShape shape{
      sizes[0], sizes[2] * sizes[3], sizes[1], static_cast<int64_t>(*groups), static_cast<float>(*epsilon), false,
      bfloat16};
  const jit::Value* result = node->output();
  const jit::Value* scale = nullptr;
  const jit::Value* shift = nullptr;
  std::vector<const jit::Node*> fused;
  const std::vector<int64_t> per_channel = {sizes[0], sizes[1], 1, 1};
  if (jit::Node* affine = only_user(result);
      affine != nullptr && is(affine, "aten::addcmul") && number(affine->input(3)) == 1.0) {
    const jit::Value* other = affine->input(1) == result ? affine->input(2) : affine->input(1);
    std::vector<int64_t> a, b;
    sizes_of(other, a);
    sizes_of(affine->input(0), b);
    if (a == per_channel && b == per_channel && numbers.contains(other) && numbers.contains(affine->input(0))) {
      scale = other;
      shift = affine->input(0);
      result = affine->output();
      fused.push_back(affine);
    }
  }
  if (jit::Node* silu = only_user(result); silu != nullptr && is(silu, "aten::silu")) {
    shape.silu = true;
    result = silu->output();
    fused.push_back(silu);
  }
  done.insert(done.end(), fused.begin(), fused.end());
  const Tensor w = weight->isNone() ? Tensor() : weight->toTensor();
  const Tensor b = bias->isNone() ? Tensor() : bias->toTensor();
  const size_t from = slot(node->input(0)), to = slot(result);
  const size_t scale_at = scale != nullptr ? slot(scale) : 0, shift_at = shift != nullptr ? slot(shift) : 0;
  Step step;
  step.shown.what = std::string("group norm") + (scale != nullptr ? ", scale and shift" : "") +
                    (shape.silu ? ", SiLU" : "") + ", " + std::to_string(shape.channels) + " channels at " +
                    std::to_string(sizes[2]) + " x " + std::to_string(sizes[3]);
  step.shown.how = "Highway";
  step.reads = {from};
  if (scale != nullptr) {
    step.reads.insert(step.reads.end(), {scale_at, shift_at});
  }
  step.writes = {to};
  step.run = [this, shape, w, b, from, to, scale_at, shift_at, scaled = scale != nullptr](Values& values) {
    const Tensor x = picture(values[from].toTensor());
    const Tensor y = at::empty_like(x, at::TensorOptions(), at::MemoryFormat::ChannelsLast);
    Tensor a, c;
    if (scaled) {
      a = values[scale_at].toTensor().flatten(1).to(at::kFloat).contiguous();
      c = values[shift_at].toTensor().flatten(1).to(at::kFloat).contiguous();
    }
    kernels.group_norm(shape, x.const_data_ptr(), w.defined() ? w.const_data_ptr<float>() : nullptr,
                       b.defined() ? b.const_data_ptr<float>() : nullptr, scaled ? a.const_data_ptr<float>() : nullptr,
                       scaled ? c.const_data_ptr<float>() : nullptr, shape.channels, y.mutable_data_ptr());
    values[to] = y;
  };
  steps.push_back(std::move(step));
  return true;
}

void Graph::Implementation::lower_other(jit::Node* node) {
  Step step;
  step.shown.what = node->kind().toQualString();
  step.shown.how = "LibTorch";
  for (const jit::Value* v : node->inputs()) {
    step.reads.push_back(slot(v));
  }
  for (const jit::Value* v : node->outputs()) {
    step.writes.push_back(slot(v));
  }
  const auto reads = step.reads;
  const auto writes = step.writes;
  if (node->kind() == c10::prim::ListConstruct || node->kind() == c10::prim::TupleConstruct) {
    const bool tensors = node->output()->type()->isSubtypeOf(*c10::ListType::ofTensors());
    const bool integers_only = node->output()->type()->isSubtypeOf(*c10::ListType::ofInts());
    step.run = [reads, writes, tensors, integers_only](Values& values) {
      if (tensors) {
        c10::List<Tensor> list;
        for (const size_t i : reads) {
          list.push_back(values[i].toTensor());
        }
        values[writes[0]] = list;
      } else if (integers_only) {
        c10::List<int64_t> list;
        for (const size_t i : reads) {
          list.push_back(values[i].isTensor() ? values[i].toTensor().item<int64_t>() : values[i].toInt());
        }
        values[writes[0]] = list;
      } else {
        c10::impl::GenericList list(c10::AnyType::get());
        for (const size_t i : reads) {
          list.push_back(values[i]);
        }
        values[writes[0]] = list;
      }
    };
    const auto known = [](const jit::Value* v) { return constant(v).has_value(); };
    if (std::all_of(node->inputs().begin(), node->inputs().end(), known)) {
      step.run(initial);  // a list of constants is one itself
      return;
    }
  } else if (node->kind() == c10::prim::ListUnpack) {
    step.run = [reads, writes](Values& values) {
      const auto list = values[reads[0]].toListRef();
      for (size_t i = 0; i < writes.size(); ++i) {
        values[writes[i]] = list[i];
      }
    };
  } else {
    jit::Operation operation = node->getOperation();
    step.run = [operation, reads, writes](Values& values) mutable {
      jit::Stack stack;
      bool half = false, whole = false;
      for (const size_t i : reads) {
        stack.push_back(values[i]);
        half = half || (values[i].isTensor() && values[i].toTensor().defined() &&
                        values[i].toTensor().scalar_type() == at::kBFloat16);
        whole = whole || (values[i].isTensor() && values[i].toTensor().defined() &&
                          values[i].toTensor().scalar_type() == at::kFloat);
      }
      if (half && whole) {  // few operators take both
        for (c10::IValue& v : stack) {
          if (v.isTensor() && v.toTensor().defined() && v.toTensor().scalar_type() == at::kBFloat16) {
            v = v.toTensor().to(at::kFloat);
          }
        }
      }
      operation(stack);
      for (size_t i = 0; i < writes.size(); ++i) {
        values[writes[i]] = std::move(stack[i]);
      }
    };
  }
  steps.push_back(std::move(step));
}

void Graph::Implementation::lower() {
  for (const jit::Value* v : graph->inputs()) {
    inputs.push_back(slot(v));
  }
  std::vector<const jit::Node*> done;  // fused into an earlier step
  for (jit::Node* node : graph->nodes()) {
    if (node->kind() == c10::prim::Constant || std::find(done.begin(), done.end(), node) != done.end()) {
      continue;
    }
    if (!lower_convolution(node, done) && !lower_norm(node, done)) {
      lower_other(node);
    }
  }
  output = slot(graph->outputs()[0]);
  find_deaths();
  for (const Step& step : steps) {
    shown.push_back(step.shown);
  }
}

void Graph::Implementation::find_deaths() {
  std::vector<size_t> last(initial.size(), 0);
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const size_t v : steps[i].reads) {
      last[v] = i;
    }
    for (const size_t v : steps[i].writes) {
      last[v] = std::max(last[v], i);
    }
  }
  for (size_t v = 0; v < initial.size(); ++v) {
    if (initial[v].isNone() && v != output && !steps.empty()) {
      steps[last[v]].dead.push_back(v);
    }
  }
}

Graph::Graph(Network& network, const Tensor& x, const Tensor& noise, const Tensor& labels, bool bfloat16,
             const kernels_of::Kernels& kernels, PackedWeights& weights)
    : implementation_(std::make_unique<Implementation>(kernels, weights, bfloat16)) {
  // Weights become constants of the graph, which share their memory with the network's; the tracer takes none that
  // asks for a gradient.
  std::vector<std::pair<Tensor, bool>> asked;
  for (Tensor& p : network.module()->parameters()) {
    asked.emplace_back(p, p.requires_grad());
    p.requires_grad_(false);
  }
  const auto restore = [&] {
    for (auto& [p, before] : asked) {
      p.requires_grad_(before);
    }
  };
  jit::Stack examples;
  for (const Tensor& t : {x, noise, labels}) {
    if (t.defined()) {
      examples.emplace_back(t.clone());
    }
  }
  try {
    const at::NoGradGuard no_grad;
    const auto call = [&](jit::Stack in) -> jit::Stack {
      size_t i = 0;
      const auto next = [&](const Tensor& t) { return t.defined() ? in[i++].toTensor() : Tensor(); };
      const Tensor a = next(x), b = next(noise), c = next(labels);
      return {network.forward(a, b, c)};
    };
    const auto traced = jit::tracer::trace(examples, call, [](const auto&) { return ""; });
    implementation_->graph = traced.first->graph;
  } catch (const std::exception& e) {
    restore();
    const std::string what = e.what();
    throw Error("the network cannot be traced: " + what.substr(0, what.find('\n')));
  }
  restore();
  jit::EliminateDeadCode(implementation_->graph);
  implementation_->lower();
}

Graph::~Graph() = default;

Tensor Graph::run(const Tensor& x, const Tensor& noise, const Tensor& labels, bool timed) {
  const at::NoGradGuard no_grad;
  Implementation& self = *implementation_;
  Implementation::Values values = self.initial;
  size_t i = 0;
  for (const Tensor& t : {x, noise, labels}) {
    if (t.defined()) {
      values[self.inputs[i++]] = t;
    }
  }
  for (size_t s = 0; s < self.steps.size(); ++s) {
    const Implementation::Step& step = self.steps[s];
    if (timed) {
      const auto began = std::chrono::steady_clock::now();
      step.run(values);
      self.shown[s].seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    } else {
      step.run(values);
    }
    for (const size_t v : step.dead) {
      values[v] = {};
    }
  }
  return values[self.output].toTensor().to(at::kFloat);
}

void PackedWeights::give(kernels_of::Convolution* convolution, const Tensor& weight, const Tensor& bias) {
  for (const Entry& entry : entries_) {
    if (entry.weight.const_data_ptr() == weight.const_data_ptr() &&
        kernels_.share_weights(convolution, entry.convolution)) {
      return;
    }
  }
  entries_.push_back({convolution, weight, bias});
  pack(entries_.back());
}

void PackedWeights::pack(const Entry& entry) const {
  const Tensor weight = entry.weight.to(at::kFloat).contiguous();
  const Tensor bias = entry.bias.defined() ? entry.bias.to(at::kFloat).contiguous() : Tensor();
  kernels_.set_weights(entry.convolution, weight.const_data_ptr<float>(),
                       bias.defined() ? bias.const_data_ptr<float>() : nullptr);
}

void PackedWeights::refresh() {
  for (const Entry& entry : entries_) {
    pack(entry);
  }
}

void Graph::forget_times() {
  for (LoweredStep& step : implementation_->shown) {
    step.seconds = 0;
  }
}

const std::vector<LoweredStep>& Graph::steps() const { return implementation_->shown; }

}  // namespace retort
