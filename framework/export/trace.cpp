#include "export/trace.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <torch/csrc/jit/frontend/tracer.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/shape_analysis.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "retort/error.h"

namespace retort {

namespace jit = torch::jit;

std::string first_line_of(const std::exception& e) {
  const std::string what = e.what();
  const size_t begin = std::min(what.find_first_not_of("\n "), what.size());
  return what.substr(begin, what.find('\n', begin) - begin);
}

namespace {

// The module's tensors as a tree, as the dots in their names say.
struct Tree {
  std::map<std::string, Tree> children;
  struct Entry {
    std::string name;
    Tensor tensor;
    bool buffer;
  };
  std::vector<Entry> entries;

  void add(const std::string& dotted, const Tensor& tensor, bool buffer) {
    const size_t dot = dotted.find('.');
    if (dot == std::string::npos) {
      entries.push_back({dotted, tensor, buffer});
    } else {
      children[dotted.substr(0, dot)].add(dotted.substr(dot + 1), tensor, buffer);
    }
  }

  jit::Module module(const std::shared_ptr<jit::CompilationUnit>& unit) const {
    jit::Module out(c10::QualifiedName("__torch__.retort.Part"), unit, /*shouldMangle=*/true);
    out.register_attribute("training", c10::BoolType::get(), false);
    for (const Entry& entry : entries) {
      out.register_parameter(entry.name, entry.tensor, entry.buffer);
    }
    for (const auto& [name, child] : children) {
      out.register_module(name, child.module(unit));
    }
    return out;
  }
};

jit::Module weights_of(Network& network) {
  Tree tree;
  for (const auto& item : network.module()->named_parameters()) {
    tree.add(item.key(), item.value(), false);
  }
  for (const auto& item : network.module()->named_buffers()) {
    tree.add(item.key(), item.value(), true);
  }
  return tree.module(std::make_shared<jit::CompilationUnit>());
}

class Silent final : public c10::WarningHandler {
  void process(const c10::Warning&) override {}
};

std::shared_ptr<jit::Graph> trace_once(jit::Module& weights, const TracedInputs& inputs, int64_t rows,
                                       const std::string& path) {
  jit::Stack examples;
  for (const Tensor& t : inputs.examples(rows)) {
    examples.emplace_back(t.clone());
  }
  const auto call = [&](jit::Stack stack) -> jit::Stack {
    std::vector<Tensor> given;
    for (const c10::IValue& value : stack) {
      given.push_back(value.toTensor());
    }
    return {inputs.call(given)};
  };
  Silent silent;
  const c10::WarningUtils::WarningHandlerGuard quiet(&silent);
  try {
    return jit::tracer::trace(
               std::move(examples), call, [](const auto&) { return ""; }, /*strict=*/true,
               /*force_outplace=*/false, &weights, inputs.names)
        .first->graph;
  } catch (const std::exception& e) {
    throw RequestError(path + ": its network cannot be traced: " + first_line_of(e));
  }
}

// What two traces differ in.
class Generalised {
 public:
  Generalised(jit::Graph& graph, const jit::Graph& other, int64_t rows, int64_t other_rows, std::string path)
      : graph_(graph), other_(other), rows_(rows), other_rows_(other_rows), path_(std::move(path)) {}

  void join() {
    auto mine = graph_.nodes().begin();
    auto its = other_.nodes().begin();
    std::vector<std::pair<jit::Node*, const jit::Node*>> pairs;
    for (; mine != graph_.nodes().end() && its != other_.nodes().end(); ++mine, ++its) {
      if ((*mine)->kind() != (*its)->kind() || (*mine)->inputs().size() != (*its)->inputs().size()) {
        throw differs("an operator");
      }
      pairs.emplace_back(*mine, *its);
    }
    if (mine != graph_.nodes().end() || its != other_.nodes().end()) {
      throw differs("the number of operators");
    }
    for (const auto& [node, twin] : pairs) {
      if (node->kind() == c10::prim::Constant) {
        constant(*node, *twin);
      }
    }
  }

  // What is left of constants: tables become buffers, which move with the module, and devices x's.
  void free_of_places(jit::Module& weights) {
    std::vector<jit::Node*> constants;
    for (jit::Node* node : graph_.nodes()) {
      if (node->kind() == c10::prim::Constant) {
        constants.push_back(node);
      }
    }
    for (jit::Node* node : constants) {
      const std::optional<c10::IValue> value = jit::toIValue(node->output());
      if (value && value->isDevice()) {
        replace(*node, device());
      } else if (value && value->isTensor() && value->toTensor().defined() && value->toTensor().numel() > 1) {
        keep(*node, value->toTensor(), weights);
      }
    }
  }

 private:
  RequestError differs(const std::string& what) const {
    return RequestError(path_ + ": its network does other things for other batch sizes (" + what +
                        " differs), so no trace stands for it");
  }

  void constant(jit::Node& node, const jit::Node& twin) {
    const std::optional<c10::IValue> value = jit::toIValue(node.output()), other = jit::toIValue(twin.output());
    if (!value || !other) {
      return;
    }
    if (value->isTensor() && other->isTensor()) {
      const Tensor &one = value->toTensor(), &its = other->toTensor();
      if (one.defined() != its.defined() || (one.defined() && (one.sizes() != its.sizes() || !one.equal(its)))) {
        throw differs("a table that it makes");
      }
    } else if (value->isInt() && other->isInt()) {
      if (value->toInt() != other->toInt()) {
        replace(node, of_batch(value->toInt(), other->toInt()));
      }
    } else if (value->tagKind() != other->tagKind() || !same(*value, *other)) {
      throw differs("a constant");
    }
  }

  static bool same(const c10::IValue& a, const c10::IValue& b) {
    return a.isNone() || (a.isDouble() && a.toDouble() == b.toDouble()) || (a.isBool() && a.toBool() == b.toBool()) ||
           (a.isString() && a.toStringRef() == b.toStringRef()) || !(a.isDouble() || a.isBool() || a.isString());
  }

  void replace(jit::Node& node, jit::Value* by) { node.output()->replaceAllUsesWith(by); }

  // a B + b, where it is one number at each of the two batch sizes.
  jit::Value* of_batch(int64_t value, int64_t other) {
    const int64_t apart = other_rows_ - rows_, factor = (other - value) / apart, rest = value - factor * rows_;
    if (factor * other_rows_ + rest != other) {
      throw differs("a number");
    }
    const auto key = std::pair(factor, rest);
    if (const auto known = numbers_.find(key); known != numbers_.end()) {
      return known->second;
    }
    const jit::WithInsertPoint here(beginning());
    jit::Value* out = batch();
    if (factor != 1) {
      out = graph_.insert(c10::aten::mul, {out, factor});
    }
    if (rest != 0) {
      out = graph_.insert(c10::aten::add, {out, rest});
    }
    return numbers_[key] = out;
  }

  // Before the first node of the trace; what is made there comes in the order in which it is made.
  jit::Node* beginning() {
    first_ = first_ != nullptr ? first_ : *graph_.nodes().begin();
    return first_;
  }
  jit::Value* x() { return graph_.inputs()[1]; }
  jit::Value* batch() {
    if (batch_ == nullptr) {
      const jit::WithInsertPoint here(beginning());
      batch_ = graph_.insert(c10::aten::size, {x(), int64_t{0}});
    }
    return batch_;
  }
  jit::Value* device() {
    if (device_ == nullptr) {
      const jit::WithInsertPoint here(*graph_.nodes().begin());
      device_ = graph_.insert(c10::prim::device, {x()});
    }
    return device_;
  }
  void keep(jit::Node& node, const Tensor& table, jit::Module& weights) {
    const std::string name = "table_" + std::to_string(tables_++);
    weights.register_buffer(name, table.clone());
    const jit::WithInsertPoint here(*graph_.nodes().begin());
    replace(node, graph_.insertGetAttr(graph_.inputs()[0], name));
  }

  jit::Graph& graph_;
  const jit::Graph& other_;
  int64_t rows_, other_rows_;
  std::string path_;
  jit::Node* first_ = nullptr;
  jit::Value *batch_ = nullptr, *device_ = nullptr;
  std::map<std::pair<int64_t, int64_t>, jit::Value*> numbers_;
  int64_t tables_ = 0;
};

// A stride of C++ may be one number for all directions, where readers such as ONNX want one for each.
void spell_out_strides(jit::Graph& graph) {
  constexpr size_t lists[] = {3, 4, 5, 7};  // stride, padding, dilation, output_padding; the last is always whole
  for (jit::Node* node : graph.nodes()) {
    if (node->kind() != c10::aten::_convolution) {
      continue;
    }
    size_t directions = 1;
    for (const size_t list : lists) {
      const jit::Node* given = node->input(list)->node();
      directions = std::max(directions, given->kind() == c10::prim::ListConstruct ? given->inputs().size() : 1);
    }
    for (const size_t list : lists) {
      const jit::Node* given = node->input(list)->node();
      if (given->kind() == c10::prim::ListConstruct && given->inputs().size() == 1 && directions > 1) {
        const std::vector<jit::Value*> all(directions, given->input(0));
        jit::Node* spelled = graph.createList(c10::IntType::get(), all);
        spelled->insertBefore(node);
        node->replaceInput(list, spelled->output());
      }
    }
  }
}

}  // namespace

jit::Module trace_network(Network& network, const TracedInputs& inputs, const std::string& path) {
  const at::NoGradGuard no_grad;
  jit::Module out = weights_of(network);
  // Small, as the networks may be large, and none of them 1, which broadcasts.
  constexpr int64_t rows = 2, more_rows = 3;
  std::shared_ptr<jit::Graph> graph = trace_once(out, inputs, rows, path);
  const std::shared_ptr<jit::Graph> other = trace_once(out, inputs, more_rows, path);
  Generalised general(*graph, *other, rows, more_rows, path);
  general.join();
  spell_out_strides(*graph);
  jit::ConstantPropagation(graph);  // tables that depend on nothing are made once
  general.free_of_places(out);
  jit::EraseShapeInformation(graph);
  jit::EliminateDeadCode(graph);
  jit::Function* forward =
      out._ivalue()->compilation_unit()->create_function(c10::QualifiedName(*out.type()->name(), "forward"), graph);
  out.type()->addMethod(forward);
  return out;
}

}  // namespace retort
