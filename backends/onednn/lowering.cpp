#include "lowering.h"

#include <ATen/ATen.h>
#include <retort/error.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include <algorithm>
#include <numeric>

namespace retort {

namespace jit = torch::jit;

bool is(const jit::Node* node, const char* name) { return node->kind() == c10::Symbol::fromQualString(name); }

jit::Node* only_user(const jit::Value* value) { return value->uses().size() == 1 ? value->uses()[0].user : nullptr; }

std::vector<int64_t> sizes_of(const jit::Value* value) {
  const auto type = value->type()->cast<c10::TensorType>();
  return type ? type->sizes().concrete_sizes().value_or(std::vector<int64_t>{}) : std::vector<int64_t>{};
}

bool is_dense(const Tensor& meta, at::IntArrayRef order) {
  int64_t step = 1;
  for (size_t i = order.size(); i-- > 0;) {
    const int64_t size = meta.size(order[i]);
    if (size != 1 && meta.stride(order[i]) != step) {
      return false;
    }
    step *= size;
  }
  return static_cast<int64_t>(order.size()) == meta.dim();
}

std::vector<int64_t> as_listed(int64_t dimensions) {
  std::vector<int64_t> order(static_cast<size_t>(dimensions));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<int64_t> channels_last(int64_t dimensions) {
  std::vector<int64_t> order = as_listed(dimensions);
  if (dimensions > 2) {
    std::rotate(order.begin() + 1, order.begin() + 2, order.end());
  }
  return order;
}

std::optional<c10::IValue> Lowering::constant(const Value* value) const {
  const auto found = known_.find(value);
  return found == known_.end() ? std::nullopt : found->second.constant;
}

std::optional<Tensor> Lowering::weight_of(const Value* value) const {
  if (const auto found = known_.find(value); found != known_.end() && found->second.weight.defined()) {
    return found->second.weight;
  }
  const auto c = constant(value);
  return c && c->isTensor() ? std::optional(c->toTensor()) : c && c->isNone() ? std::optional(Tensor()) : std::nullopt;
}

// A number, also where the tracer made a tensor without dimensions of it.
std::optional<double> Lowering::number(const Value* value) const {
  const auto c = constant(value);
  if (!c) {
    return {};
  }
  if (c->isTensor() && c->toTensor().defined() && c->toTensor().dim() == 0) {
    return c->toTensor().item<double>();
  }
  return c->isScalar() ? std::optional(c->toScalar().toDouble()) : std::nullopt;
}

std::optional<std::vector<int64_t>> Lowering::integers(const Value* value) const {
  const auto c = constant(value);
  return c && c->isIntList() ? std::optional(c->toIntVector()) : std::nullopt;
}

bool Lowering::is_ready(const Value* value) const {
  const auto found = known_.find(value);
  return found != known_.end() &&
         (found->second.constant || found->second.weight.defined() || found->second.view || found->second.slot);
}

View Lowering::new_view(at::IntArrayRef sizes, at::IntArrayRef order, at::ScalarType type) {
  std::vector<int64_t> strides(sizes.size());
  int64_t step = 1;
  for (size_t i = order.size(); i-- > 0;) {
    strides[static_cast<size_t>(order[i])] = step;
    step *= sizes[static_cast<size_t>(order[i])];
  }
  const Tensor meta = at::empty_strided(sizes, strides, at::TensorOptions().device(at::kMeta).dtype(type));
  buffers_.push_back({.bytes = step * static_cast<int64_t>(meta.element_size())});
  return {buffers_.size() - 1, meta};
}

Place Lowering::place(const View& view) const {
  return {view.buffer, view.meta.storage_offset() * static_cast<int64_t>(view.meta.element_size())};
}

Tensor Lowering::tensor(char* arena, const View& view) const {
  const Place p = place(view);
  return at::from_blob(arena + buffers_[p.buffer].offset + p.bytes, view.meta.sizes(), view.meta.strides(),
                       at::TensorOptions().dtype(view.meta.scalar_type()));
}

size_t Lowering::slot(const Value* value) {
  Known& k = known(value);
  if (k.slot) {
    return *k.slot;
  }
  k.slot = frame.slots.size();
  frame.slots.emplace_back();
  held_.emplace_back();
  if (k.constant) {
    frame.slots.back() = *k.constant;
  } else if (k.weight.defined()) {
    frame.slots.back() = k.weight;
  } else if (k.view) {
    held_.back().insert(k.view->buffer);
    blobs_.push_back({*k.slot, {*k.view}, false});
  } else if (!k.views.empty()) {
    for (const View& v : k.views) {
      held_.back().insert(v.buffer);
    }
    blobs_.push_back({*k.slot, k.views, true});
  }
  return *k.slot;
}

View Lowering::in_memory(const Value* value, at::IntArrayRef order, at::ScalarType type) {
  Known& k = known(value);
  const auto fits = [&](const View& v) { return v.meta.scalar_type() == type && is_dense(v.meta, order); };
  if (k.view && fits(*k.view)) {
    return *k.view;
  }
  for (const View& v : k.copies) {
    if (fits(v)) {
      return v;
    }
  }
  const size_t from = slot(value);
  const View to = new_view(sizes_of(value), order, type);
  Step step;
  step.shown = {"copy into another layout or type", "LibTorch"};
  step.slot_reads = {from};
  step.writes = {to.buffer};
  step.run = [this, from, to](Frame& f) { tensor(f.arena, to).copy_(f.slots[from].toTensor()); };
  steps.push_back(std::move(step));
  known(value).copies.push_back(to);
  return to;
}

View Lowering::picture(const Value* value) {
  return in_memory(value, channels_last(static_cast<int64_t>(sizes_of(value).size())), state());
}

std::optional<View> Lowering::row_vectors(const Value* value, int64_t rows, int64_t columns) {
  const std::vector<int64_t> sizes = sizes_of(value);
  if (!is_ready(value) || sizes.size() < 2 || sizes[0] != rows || sizes[1] != columns ||
      !std::all_of(sizes.begin() + 2, sizes.end(), [](int64_t s) { return s == 1; })) {
    return {};
  }
  const Known& k = known(value);
  if (k.view && k.view->meta.scalar_type() == at::kFloat && (columns == 1 || k.view->meta.stride(1) == 1)) {
    return k.view;
  }
  return in_memory(value, as_listed(static_cast<int64_t>(sizes.size())), at::kFloat);
}

// What depends on numbers alone is computed now.
bool Lowering::lower_constant(Node* node) {
  if (node->kind() == c10::prim::Constant) {
    return true;
  }
  for (const Value* v : node->inputs()) {
    const auto c = constant(v);
    if (!c) {
      return false;
    }
  }
  if (node->inputs().empty() || node->isNondeterministic()) {
    return false;
  }
  if (node->kind() == c10::prim::ListConstruct) {
    const c10::Type& type = *node->output()->type();
    if (type.isSubtypeOf(*c10::ListType::ofInts())) {
      c10::List<int64_t> list;
      for (const Value* v : node->inputs()) {
        list.push_back(static_cast<int64_t>(*number(v)));
      }
      known(node->output()).constant = list;
      return true;
    }
    return false;
  }
  if (node->maybeOperator() == nullptr) {
    return false;
  }
  jit::Stack stack;
  for (const Value* v : node->inputs()) {
    stack.push_back(*constant(v));
  }
  node->getOperation()(stack);
  for (size_t i = 0; i < node->outputs().size(); ++i) {
    known(node->output(i)).constant = stack[i];
  }
  return true;
}

// What an operator that only rearranges makes of a tensor: views of the same memory. None where it does more.
std::optional<std::vector<Tensor>> Lowering::rearranged(Node* node, const Tensor& meta) {
  static const std::set<std::string> names = {
      "aten::view",       "aten::reshape", "aten::transpose",   "aten::permute", "aten::unsqueeze",
      "aten::squeeze",    "aten::chunk",   "aten::split",       "aten::unbind",  "aten::split_with_sizes",
      "aten::select",     "aten::slice",   "aten::narrow",      "aten::flatten", "aten::expand",
      "aten::contiguous", "aten::dropout", "aten::detach",      "aten::alias",   "aten::unflatten",
      "aten::swapaxes",   "aten::movedim", "aten::_unsafe_view"};
  if (!names.contains(node->kind().toQualString()) || node->maybeOperator() == nullptr) {
    return {};
  }
  jit::Stack stack;
  for (size_t i = 0; i < node->inputs().size(); ++i) {
    const auto c = constant(node->input(i));
    if (i > 0 && !c) {
      return {};
    }
    stack.push_back(i == 0 ? c10::IValue(meta) : *c);
  }
  node->getOperation()(stack);
  std::vector<Tensor> out;
  if (stack[0].isTensor()) {
    out = {stack[0].toTensor()};
  } else if (stack[0].isTensorList()) {
    out = stack[0].toTensorVector();
  }
  const auto same_memory = [&](const Tensor& t) { return t.is_alias_of(meta); };
  if (out.empty() || !std::all_of(out.begin(), out.end(), same_memory)) {
    return {};
  }
  return out;
}

bool Lowering::lower_view(Node* node) {
  if (node->inputs().empty()) {
    return false;
  }
  const Known from = known(node->input(0));
  if (node->kind() == c10::prim::ListUnpack) {
    for (size_t i = 0; i < from.views.size(); ++i) {
      known(node->output(i)).view = from.views[i];
    }
    return !from.views.empty();
  }
  if (!from.view) {
    return false;
  }
  const auto out = rearranged(node, from.view->meta);
  if (!out) {
    return false;
  }
  if (node->output()->type()->isSubtypeOf(*c10::TensorType::get())) {
    known(node->output()).view = View{from.view->buffer, out->front()};
  } else {
    for (const Tensor& t : *out) {
      known(node->output()).views.push_back({from.view->buffer, t});
    }
  }
  return true;
}

namespace {

// A node that is no operator (lists, tuples, dictionaries) as a graph of its own, for LibTorch's interpreter.
jit::Code code_of(jit::Node* node) {
  auto alone = std::make_shared<jit::Graph>();
  std::unordered_map<const jit::Value*, jit::Value*> inputs;
  for (jit::Value* v : node->inputs()) {
    jit::Value*& input = inputs[v];
    if (input == nullptr) {
      input = alone->addInput()->copyMetadata(v);
    }
  }
  jit::Node* copy = alone->appendNode(alone->createClone(node, [&](jit::Value* v) { return inputs.at(v); }));
  for (jit::Value* v : copy->outputs()) {
    alone->registerOutput(v);
  }
  return jit::Code(alone, "step");
}

std::function<void(std::vector<c10::IValue>&)> interpreted_step(jit::Node* node, const std::vector<size_t>& reads,
                                                                const std::vector<size_t>& writes) {
  std::vector<size_t> distinct;  // as code_of takes them
  for (const size_t i : reads) {
    if (std::find(distinct.begin(), distinct.end(), i) == distinct.end()) {
      distinct.push_back(i);
    }
  }
  // The tracer may keep a size as a tensor without dimensions.
  const bool integers =
      node->kind() == c10::prim::ListConstruct && node->output()->type()->isSubtypeOf(*c10::ListType::ofInts());
  return [code = code_of(node), distinct, writes, integers](std::vector<c10::IValue>& slots) {
    jit::Stack stack;
    for (const size_t i : distinct) {
      stack.push_back(integers && slots[i].isTensor() ? c10::IValue(slots[i].toTensor().item<int64_t>()) : slots[i]);
    }
    jit::InterpreterState(code).run(stack);
    for (size_t i = 0; i < writes.size(); ++i) {
      slots[writes[i]] = std::move(stack[i]);
    }
  };
}

}  // namespace

std::function<void(std::vector<c10::IValue>&)> general_step(jit::Node* node, const std::vector<size_t>& reads,
                                                            const std::vector<size_t>& writes) {
  if (node->maybeOperator() == nullptr) {
    return interpreted_step(node, reads, writes);
  }
  return [operation = node->getOperation(), reads, writes](std::vector<c10::IValue>& slots) mutable {
    jit::Stack stack;
    bool half = false, whole = false;
    const auto is_of = [](const c10::IValue& v, at::ScalarType type) {
      return v.isTensor() && v.toTensor().defined() && v.toTensor().scalar_type() == type;
    };
    for (const size_t i : reads) {
      stack.push_back(slots[i]);
      half = half || is_of(stack.back(), at::kBFloat16);
      whole = whole || is_of(stack.back(), at::kFloat);
    }
    if (half && whole) {  // few operators take both
      for (c10::IValue& v : stack) {
        if (is_of(v, at::kBFloat16)) {
          v = v.toTensor().to(at::kFloat);
        }
      }
    }
    operation(stack);
    for (size_t i = 0; i < writes.size(); ++i) {
      slots[writes[i]] = std::move(stack[i]);
    }
  };
}

void Lowering::lower_other(Node* node) {
  Step step;
  step.shown = {node->kind().toQualString(), "LibTorch"};
  std::set<size_t> held;
  for (const Value* v : node->inputs()) {
    step.slot_reads.push_back(slot(v));
    held.insert(held_[step.slot_reads.back()].begin(), held_[step.slot_reads.back()].end());
  }
  for (const Value* v : node->outputs()) {
    step.slot_writes.push_back(slot(v));
    held_[step.slot_writes.back()] = held;
  }
  step.run = [run = general_step(node, step.slot_reads, step.slot_writes)](Frame& f) { run(f.slots); };
  steps.push_back(std::move(step));
}

void Lowering::lower(Node* node) {
  if (is_done(node) || lower_constant(node) || lower_view(node) || lower_convolution(node) || lower_linear(node) ||
      lower_norm(node) || lower_attention(node) || lower_concat(node) || lower_resizing(node) || defer_sum(node)) {
    return;
  }
  lower_other(node);
}

Lowering::Lowering(const TracedNetwork& traced, bool bfloat16, const retort_onednn::Kernels& kernels,
                   PackedWeights& weights)
    : kernels_(kernels), weights_(weights), bfloat16_(bfloat16) {
  const jit::Graph& graph = *traced.graph;
  for (const Value* v : traced.inputs) {
    inputs.push_back(slot(v));
  }
  for (const auto& [value, weight] : traced.weights) {
    known(value).weight = weight;
  }
  for (const Node* node : graph.nodes()) {
    if (node->kind() == c10::prim::Constant) {
      known(node->output()).constant = jit::toIValue(node->output());
    }
  }
  for (const Node* node : graph.nodes()) {
    lower(const_cast<Node*>(node));
  }
  finish(graph);
}

Lowering::~Lowering() {
  for (retort_onednn::Operation* operation : operations_) {
    kernels_.free_operation(operation);
  }
}

// Steps whose results nobody reads: lists that a kernel has read item by item, sums that a norm has done.
void Lowering::drop_unused() {
  std::set<size_t> slots = {output}, buffers = held_[output];
  std::vector<bool> kept(steps.size());
  for (size_t i = steps.size(); i-- > 0;) {
    const Step& step = steps[i];
    const auto wanted = [](const std::vector<size_t>& written, const std::set<size_t>& by) {
      return std::any_of(written.begin(), written.end(), [&](size_t w) { return by.contains(w); });
    };
    kept[i] = wanted(step.writes, buffers) || wanted(step.slot_writes, slots);
    if (kept[i]) {
      buffers.insert(step.reads.begin(), step.reads.end());
      for (const size_t s : step.slot_reads) {
        slots.insert(s);
        buffers.insert(held_[s].begin(), held_[s].end());
      }
    }
  }
  size_t i = 0;
  std::erase_if(steps, [&](const Step&) { return !kept[i++]; });
}

void Lowering::finish(const jit::Graph& graph) {
  const Value* result = graph.outputs()[0];
  output = slot(result);
  output_sizes = sizes_of(result);
  drop_unused();
  for (Buffer& b : buffers_) {
    b.first = steps.size();
  }
  std::vector<size_t> last(frame.slots.size(), 0);
  const auto touch = [&](size_t buffer, size_t i) {
    buffers_[buffer].first = std::min(buffers_[buffer].first, i);
    buffers_[buffer].last = std::max(buffers_[buffer].last, i);
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const auto* list : {&steps[i].reads, &steps[i].writes}) {
      for (const size_t b : *list) {
        touch(b, i);
      }
    }
    for (const auto* list : {&steps[i].slot_reads, &steps[i].slot_writes}) {
      for (const size_t s : *list) {
        last[s] = i;
        for (const size_t b : held_[s]) {
          touch(b, i);
        }
      }
    }
  }
  for (const size_t b : held_[output]) {
    touch(b, steps.size());
  }
  // Buffers of dropped steps take no room.
  for (Buffer& b : buffers_) {
    if (b.first == steps.size() && b.last == 0) {
      b.bytes = 0;
    }
  }
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const size_t s : steps[i].slot_writes) {
      if (s != output) {
        steps[last[s]].dead.push_back(s);
      }
    }
  }
  bytes = place_buffers(buffers_);
  arena_.emplace(bytes);
  frame.arena = arena_->data();
  for (const Blob& blob : blobs_) {
    if (blob.list) {
      c10::List<Tensor> list;
      for (const View& v : blob.views) {
        list.push_back(tensor(frame.arena, v));
      }
      frame.slots[blob.slot] = list;
    } else {
      frame.slots[blob.slot] = tensor(frame.arena, blob.views[0]);
    }
  }
}

}  // namespace retort
