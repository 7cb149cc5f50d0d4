#include "graph.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>
#include <retort/error.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/common_subexpression_elimination.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>

#include "lowering.h"

namespace retort {

namespace jit = torch::jit;

namespace {

// While it lives, no parameter asks for a gradient, LibTorch's tracer says nothing, and random numbers, buffers and
// flags are put back at the end as they were: a network in training moves its buffers and draws for dropout.
class Aside {
 public:
  explicit Aside(Network& network)
      : random_(at::globalContext().defaultGenerator(at::kCPU)), drawn_(random_.get_state()) {
    for (const Tensor& p : network.module()->parameters()) {
      asked_.emplace_back(p, p.requires_grad());
      asked_.back().first.requires_grad_(false);
    }
    for (const Tensor& b : network.module()->buffers()) {
      buffers_.emplace_back(b, b.detach().clone());
    }
  }
  ~Aside() {
    const at::NoGradGuard no_grad;
    for (auto& [b, before] : buffers_) {
      b.copy_(before);
    }
    // The last first: of a tensor with two names, what was asked of it before any of this is told by the first.
    for (auto p = asked_.rbegin(); p != asked_.rend(); ++p) {
      p->first.requires_grad_(p->second);
    }
    random_.set_state(drawn_);
  }
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

 private:
  class Silent final : public c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };
  std::vector<std::pair<Tensor, bool>> asked_;
  std::vector<std::pair<Tensor, Tensor>> buffers_;
  at::Generator random_;
  Tensor drawn_;
  Silent silent_;
  c10::WarningUtils::WarningHandlerGuard quiet_{&silent_};
};

// Notes, while it lives, whether a number or a truth is read out of a tensor on this thread: what is done with it (a
// decision, a factor) is not in a trace. Whole numbers are let pass, as sizes are kept in tensors for a moment.
class NumbersRead {
 public:
  NumbersRead() : handle_(at::addThreadLocalCallback(callback())) { any() = false; }
  ~NumbersRead() { at::removeCallback(handle_); }
  NumbersRead(const NumbersRead&) = delete;
  NumbersRead& operator=(const NumbersRead&) = delete;

  static bool& any() {
    static thread_local bool read = false;
    return read;
  }

 private:
  static at::RecordFunctionCallback callback() {
    return at::RecordFunctionCallback([](const at::RecordFunction& f) -> std::unique_ptr<at::ObserverContext> {
             const bool reads = std::string_view(f.name()) == "aten::_local_scalar_dense" && !f.inputs().empty();
             if (reads && f.inputs()[0].isTensor()) {
               const Tensor& t = f.inputs()[0].toTensor();
               any() = any() || t.is_floating_point() || t.scalar_type() == at::kBool;
             }
             return nullptr;
           })
        .needsInputs(true)
        .scopes({at::RecordScope::FUNCTION});
  }
  at::CallbackHandle handle_;
};

}  // namespace

TracedNetwork trace(Network& network, const NetworkInputs& in) {
  const Aside aside(network);
  jit::Stack examples;
  for (const Tensor& t : in.tensors()) {
    examples.emplace_back(t.clone());
  }
  const size_t given = examples.size();
  // Tied weights are one tensor under two names, and one input.
  std::vector<Tensor> weights;
  for (const auto& list : {network.module()->parameters(), network.module()->buffers()}) {
    for (const Tensor& t : list) {
      const auto is_t = [&](const Tensor& other) { return other.is_same(t); };
      if (t.defined() && std::none_of(weights.begin(), weights.end(), is_t)) {
        weights.push_back(t);
        examples.emplace_back(t);
      }
    }
  }
  TracedNetwork out;
  try {
    const at::NoGradGuard no_grad;
    const NumbersRead numbers;
    const auto call = [&](jit::Stack stack) -> jit::Stack {
      std::vector<Tensor> tensors;
      for (size_t i = 0; i < given; ++i) {
        tensors.push_back(stack[i].toTensor());
      }
      return {in.with(tensors).forward(network)};
    };
    out.graph = jit::tracer::trace(examples, call, [](const auto&) { return ""; }).first->graph;
    if (NumbersRead::any()) {
      out.obstacle = "it reads numbers out of tensors, and what it does with them depends on its inputs";
    }
  } catch (const std::exception& e) {
    const std::string what = e.what();
    throw Error("the network cannot be traced: " + what.substr(0, what.find('\n')));
  }
  jit::RemoveTensorMutation(out.graph);
  jit::EliminateDeadCode(out.graph);
  jit::EliminateCommonSubexpression(out.graph);
  for (size_t i = 0; i < out.graph->inputs().size(); ++i) {
    const jit::Value* value = out.graph->inputs()[i];
    if (i < given) {
      out.inputs.push_back(value);
    } else {
      out.weights.emplace(value, weights[i - given]);
    }
  }
  for (const jit::Node* node : out.graph->nodes()) {
    const c10::FunctionSchema* schema = node->maybeSchema();
    if (schema != nullptr && schema->is_mutable() && out.obstacle.empty()) {
      out.obstacle = std::string("it changes tensors in place (") + node->kind().toQualString() + ")";
    }
    out.random = out.random || node->isNondeterministic();
  }
  return out;
}

std::string disagreement(Network& network, const NetworkInputs& in, double tolerance,
                         const std::function<Tensor(const NetworkInputs&)>& made) {
  const at::NoGradGuard no_grad;
  const Aside aside(network);
  const auto other = [](const Tensor& t) { return t.is_floating_point() ? 0.5 * t.flip(0) - 0.25 : t.flip(0); };
  for (const NetworkInputs& one : {in, in.map(other)}) {
    const Tensor exact = one.forward(network).to(at::kDouble), got = made(one).to(at::kDouble);
    if (got.sizes() != exact.sizes()) {
      return "what was made of it has another shape";
    }
    if (!exact.isfinite().all().item<bool>()) {
      continue;  // not its fault, and seen elsewhere
    }
    const double error = (got - exact).square().mean().sqrt().item<double>();
    const double size = exact.square().mean().sqrt().item<double>();
    if (!(error <= tolerance * size + 1e-6)) {
      return "what it computes depends on more than its trace shows";
    }
  }
  return "";
}

struct Graph::Implementation {
  Lowering lowered;
  std::vector<LoweredStep> shown;
};

Graph::Graph(const TracedNetwork& traced, bool bfloat16, const retort_onednn::Kernels& kernels,
             PackedWeights& weights) {
  const at::NoGradGuard no_grad;
  implementation_.reset(new Implementation{{traced, bfloat16, kernels, weights}, {}});
  for (const Step& step : implementation_->lowered.steps) {
    implementation_->shown.push_back(step.shown);
  }
}

Graph::~Graph() = default;

void Graph::run(const NetworkInputs& in, Tensor& out, bool timed) {
  Lowering& lowered = implementation_->lowered;
  Frame& frame = lowered.frame;
  size_t i = 0;
  for (const Tensor& t : in.tensors()) {
    frame.slots[lowered.inputs[i++]] = t;
  }
  for (size_t s = 0; s < lowered.steps.size(); ++s) {
    const Step& step = lowered.steps[s];
    if (timed) {
      const auto began = std::chrono::steady_clock::now();
      step.run(frame);
      implementation_->shown[s].seconds +=
          std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    } else {
      step.run(frame);
    }
    for (const size_t v : step.dead) {
      frame.slots[v] = {};
    }
  }
  out.copy_(frame.slots[lowered.output].toTensor());
}

int64_t Graph::bytes() const { return implementation_->lowered.bytes; }
const std::vector<int64_t>& Graph::output_sizes() const { return implementation_->lowered.output_sizes; }

void Graph::forget_times() {
  for (LoweredStep& step : implementation_->shown) {
    step.seconds = 0;
  }
}

const std::vector<LoweredStep>& Graph::steps() const { return implementation_->shown; }

}  // namespace retort
