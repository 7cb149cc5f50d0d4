#include "graph.h"

#include <ATen/ATen.h>
#include <retort/error.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/common_subexpression_elimination.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/nn/module.h>

#include <chrono>

#include "lowering.h"

namespace retort {

namespace jit = torch::jit;

std::shared_ptr<jit::Graph> trace(Network& network, const Tensor& x, const Tensor& noise, const Tensor& labels) {
  // The tracer takes no constant that asks for a gradient.
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
  // Dropout draws numbers while it is traced; those of the first step after must not depend on that.
  at::Generator generator = at::globalContext().defaultGenerator(at::kCPU);
  const Tensor drawn = generator.get_state();
  std::shared_ptr<jit::Graph> graph;
  try {
    const at::NoGradGuard no_grad;
    const auto call = [&](jit::Stack in) -> jit::Stack {
      size_t i = 0;
      const auto next = [&](const Tensor& t) { return t.defined() ? in[i++].toTensor() : Tensor(); };
      const Tensor a = next(x), b = next(noise), c = next(labels);
      return {network.forward(a, b, c)};
    };
    graph = jit::tracer::trace(examples, call, [](const auto&) { return ""; }).first->graph;
  } catch (const std::exception& e) {
    restore();
    const std::string what = e.what();
    throw Error("the network cannot be traced: " + what.substr(0, what.find('\n')));
  }
  restore();
  generator.set_state(drawn);
  jit::RemoveTensorMutation(graph);
  jit::EliminateDeadCode(graph);
  jit::EliminateCommonSubexpression(graph);
  return graph;
}

struct Graph::Implementation {
  Lowering lowered;
  std::vector<LoweredStep> shown;
};

Graph::Graph(const std::shared_ptr<jit::Graph>& traced, bool bfloat16, const retort_onednn::Kernels& kernels,
             PackedWeights& weights) {
  const at::NoGradGuard no_grad;
  implementation_.reset(new Implementation{{*traced, bfloat16, kernels, weights}, {}});
  for (const Step& step : implementation_->lowered.steps) {
    implementation_->shown.push_back(step.shown);
  }
}

Graph::~Graph() = default;

void Graph::run(const Tensor& x, const Tensor& noise, const Tensor& labels, Tensor& out, bool timed) {
  Lowering& lowered = implementation_->lowered;
  Frame& frame = lowered.frame;
  size_t i = 0;
  for (const Tensor& t : {x, noise, labels}) {
    if (t.defined()) {
      frame.slots[lowered.inputs[i++]] = t;
    }
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
