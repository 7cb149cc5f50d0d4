// The layers that have kernels, and what is fused into them.
#include "lowering.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace retort {

namespace kernels_of = retort_onednn;
namespace jit = torch::jit;

namespace {

std::string times(int64_t a, int64_t b) { return std::to_string(a) + " x " + std::to_string(b); }

// One number stands for both dimensions.
std::optional<std::vector<int64_t>> pair(std::optional<std::vector<int64_t>> list) {
  if (list && list->size() == 1) {
    list->push_back(list->front());
  }
  return list;
}

}  // namespace

std::optional<Lowering::Linear> Lowering::as_linear(const Node* node) const {
  const auto turned = [&](const Value* v) -> std::optional<Tensor> {
    return is(v->node(), "aten::t") ? weight_of(v->node()->input(0)) : std::nullopt;
  };
  const auto one = [&](const Value* v) { return number(v) == 1.0; };
  std::optional<Linear> out;
  if (is(node, "aten::linear")) {
    const auto w = weight_of(node->input(1)), b = weight_of(node->input(2));
    if (w && b) {
      out = {node->input(0), *w, *b};
    }
  } else if (is(node, "aten::addmm")) {
    const auto w = turned(node->input(2)), b = weight_of(node->input(0));
    if (w && b && one(node->input(3)) && one(node->input(4))) {
      out = {node->input(1), *w, *b};
    }
  } else if (is(node, "aten::matmul") || is(node, "aten::mm")) {
    if (const auto w = turned(node->input(1))) {
      out = {node->input(0), *w, Tensor()};
    }
  }
  const bool fits = out && out->weight.defined() && out->weight.dim() == 2 && sizes_of(out->x).size() >= 2 &&
                    (!out->bias.defined() || (out->bias.dim() == 1 && out->bias.size(0) == out->weight.size(0)));
  return fits ? out : std::nullopt;
}

// Its vectors are read as plain float32 numbers.
bool Lowering::can_lower_norm(const Node* node) const {
  const auto plain = [&](const Value* v) {
    const auto w = weight_of(v);
    return w && (!w->defined() || (w->is_contiguous() && w->scalar_type() == at::kFloat));
  };
  return is(node, "aten::group_norm") && plain(node->input(2)) && plain(node->input(3)) &&
         sizes_of(node->input(0)).size() >= 3;
}

// [rearranged] [+ residual] [* factor] [silu], each used by the next alone.
Lowering::Tail Lowering::follow(const Value* result, const Tensor& meta) {
  Tail tail{result, meta, nullptr, {}, 1, false, {}};
  std::vector<const Node*> between;
  const Value* at = result;
  Tensor now = meta;
  const auto take = [&](const Node* node) {
    tail.nodes.insert(tail.nodes.end(), between.begin(), between.end());
    between.clear();
    tail.nodes.push_back(node);
    at = node->output(0);
    tail.result = at;
    tail.meta = now;
  };
  while (Node* user = only_user(at)) {
    if (is(user, "aten::silu")) {
      tail.silu = true;
      take(user);
      break;
    }
    if (is(user, "aten::mul") || is(user, "aten::div")) {
      const auto factor = user->inputs().size() == 2 && user->input(0) == at ? number(user->input(1)) : std::nullopt;
      if (!factor) {
        break;
      }
      tail.factor *= static_cast<float>(is(user, "aten::mul") ? *factor : 1 / *factor);
      take(user);
      continue;
    }
    if (is(user, "aten::add") && user->inputs().size() == 3 && number(user->input(2)) == 1.0) {
      const Value* other = user->input(0) == at ? user->input(1) : user->input(0);
      const auto fits = [&](const View& v) {
        return v.meta.sizes() == now.sizes() && v.meta.strides() == now.strides() &&
               v.meta.scalar_type() == now.scalar_type();
      };
      if (const auto found = known_.find(other);
          found != known_.end() && other != at && tail.residual == nullptr && tail.factor == 1) {
        std::vector<View> candidates = found->second.copies;
        if (found->second.view) {
          candidates.push_back(*found->second.view);
        }
        if (const auto fit = std::find_if(candidates.begin(), candidates.end(), fits); fit != candidates.end()) {
          tail.residual = other;
          tail.residual_view = *fit;
        }
      }
      if (tail.residual != other) {
        break;
      }
      take(user);
      continue;
    }
    const auto moved = rearranged(user, now);
    if (!moved || moved->size() != 1 || user->outputs().size() != 1 ||
        !user->output()->type()->isSubtypeOf(*c10::TensorType::get())) {
      break;
    }
    between.push_back(user);
    at = user->output();
    now = moved->front();
  }
  return tail;
}

void Lowering::add_convolution(const kernels_of::ConvolutionShape& s, kernels_of::Operation* operation, const View& src,
                               const Tail* tail, const View& dst) {
  Step step;
  step.shown.what = s.in_height == 1 && s.kernel_width == 1
                        ? "linear " + std::to_string(s.in_channels) + " to " + std::to_string(s.out_channels) + ", " +
                              std::to_string(s.in_width) + " row(s)"
                        : "convolution " + std::to_string(s.in_channels) + " to " + std::to_string(s.out_channels) +
                              ", " + times(s.kernel_height, s.kernel_width) + ", at " +
                              times(s.out_height, s.out_width);
  step.shown.what += std::string(s.residual ? " + residual" : "") + (s.silu ? ", SiLU" : "");
  step.shown.how = kernels_.implementation(operation);
  step.reads = {src.buffer};
  step.writes = {dst.buffer};
  const bool adds = tail != nullptr && tail->residual_view;
  if (adds) {
    step.reads.push_back(tail->residual_view->buffer);
  }
  const Place from = place(src), to = place(dst), with = adds ? place(*tail->residual_view) : Place{};
  step.run = [this, operation, from, to, with, adds](Frame& f) {
    kernels_.run(operation, at(f, from), adds ? at(f, with) : nullptr, at(f, to));
  };
  steps.push_back(std::move(step));
  operations_.push_back(operation);
}

bool Lowering::lower_convolution(Node* node) {
  // (input, weight, bias, stride, padding, dilation, transposed, output padding, groups, …)
  if (!is(node, "aten::_convolution") || number(node->input(6)) != 0.0) {
    return false;
  }
  const auto weight = weight_of(node->input(1)), bias = weight_of(node->input(2));
  const auto stride = pair(integers(node->input(3))), padding = pair(integers(node->input(4)));
  const auto dilation = pair(integers(node->input(5)));
  const auto groups = number(node->input(8));
  const std::vector<int64_t> in = sizes_of(node->input(0)), out = sizes_of(node->output());
  if (!weight || !bias || !stride || !padding || !dilation || !groups || in.size() != 4 || out.size() != 4 ||
      stride->size() != 2 || padding->size() != 2 || dilation->size() != 2) {
    return false;
  }
  const View src = picture(node->input(0));
  const View dst = new_view(out, channels_last(4), state());
  const Tail tail = follow(node->output(), dst.meta);
  kernels_of::ConvolutionShape shape{
      .batch = in[0],
      .in_channels = in[1],
      .in_height = in[2],
      .in_width = in[3],
      .out_channels = out[1],
      .out_height = out[2],
      .out_width = out[3],
      .kernel_height = weight->size(2),
      .kernel_width = weight->size(3),
      .stride_height = (*stride)[0],
      .stride_width = (*stride)[1],
      .padding_height = (*padding)[0],
      .padding_width = (*padding)[1],
      .dilation_height = (*dilation)[0],
      .dilation_width = (*dilation)[1],
      .groups = static_cast<int64_t>(*groups),
      .bfloat16 = bfloat16_,
      .bias = bias->defined(),
      .residual = tail.residual != nullptr,
      .factor = tail.factor,
      .silu = tail.silu,
  };
  kernels_of::Operation* operation = kernels_.make_convolution(shape);
  if (operation == nullptr) {
    return false;
  }
  weights_.give(operation, {*weight}, {*bias});
  add_convolution(shape, operation, src, &tail, dst);
  done_.insert(tail.nodes.begin(), tail.nodes.end());
  known(tail.result).view = View{dst.buffer, tail.meta};
  return true;
}

// Layers that read the same input become one.
bool Lowering::lower_linear(Node* node) {
  const auto first = as_linear(node);
  if (!first) {
    return false;
  }
  std::vector<const Node*> nodes;
  std::vector<Tensor> weights, biases;
  int64_t columns = 0;
  bool bias = false;
  for (const jit::Use& use : first->x->uses()) {
    const auto layer = as_linear(use.user);
    if (layer && layer->x == first->x && !is_done(use.user) &&
        std::find(nodes.begin(), nodes.end(), use.user) == nodes.end()) {
      nodes.push_back(use.user);
      weights.push_back(layer->weight);
      biases.push_back(layer->bias);
      columns += layer->weight.size(0);
      bias = bias || layer->bias.defined();
    }
  }
  std::vector<int64_t> sizes = sizes_of(first->x);
  const Known& input = known(first->x);
  const at::ScalarType type = input.view ? input.view->meta.scalar_type() : at::kFloat;
  if (sizes.back() != first->weight.size(1) || (type != at::kFloat && type != at::kBFloat16)) {
    return false;
  }
  const std::vector<int64_t> order = as_listed(static_cast<int64_t>(sizes.size()));
  const View src = in_memory(first->x, order, type);
  const int64_t rows = src.meta.numel() / sizes.back();
  sizes.back() = columns;
  const View dst = new_view(sizes, order, type);
  const std::optional<Tail> tail = nodes.size() == 1 ? std::optional(follow(node->output(), dst.meta)) : std::nullopt;
  kernels_of::ConvolutionShape shape{.batch = 1,
                                     .in_channels = first->weight.size(1),
                                     .in_height = 1,
                                     .in_width = rows,
                                     .out_channels = columns,
                                     .out_height = 1,
                                     .out_width = rows,
                                     .bfloat16 = type == at::kBFloat16,
                                     .bias = bias};
  if (tail) {
    shape.residual = tail->residual != nullptr;
    shape.factor = tail->factor;
    shape.silu = tail->silu;
  }
  kernels_of::Operation* operation = kernels_.make_convolution(shape);
  if (operation == nullptr) {
    return false;
  }
  weights_.give(operation, weights, biases);
  add_convolution(shape, operation, src, tail ? &*tail : nullptr, dst);
  if (tail) {
    done_.insert(tail->nodes.begin(), tail->nodes.end());
    known(tail->result).view = View{dst.buffer, tail->meta};
    return true;
  }
  int64_t begin = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int64_t width = weights[i].size(0);
    known(nodes[i]->output()).view = View{dst.buffer, dst.meta.narrow(-1, begin, width)};
    done_.insert(nodes[i]);
    begin += width;
  }
  return true;
}

// picture + vector for each row, where only a norm reads it
bool Lowering::defer_sum(Node* node) {
  if (!is(node, "aten::add") || node->inputs().size() != 3 || number(node->input(2)) != 1.0) {
    return false;
  }
  const Node* norm = only_user(node->output());
  if (norm == nullptr || !can_lower_norm(norm) || norm->input(0) != node->output()) {
    return false;
  }
  for (const size_t i : {size_t{0}, size_t{1}}) {
    const Value *whole = node->input(i), *vector = node->input(1 - i);
    const std::vector<int64_t> sizes = sizes_of(whole);
    if (sizes == sizes_of(node->output()) && row_vectors(vector, sizes[0], sizes[1]) && known(whole).view) {
      deferred_[node->output()] = {whole, vector};
      return true;
    }
  }
  return false;
}

// [+ vector] group_norm [* scale + shift] [silu]
bool Lowering::lower_norm(Node* node) {
  if (!can_lower_norm(node)) {
    return false;
  }
  const auto groups = number(node->input(1)), epsilon = number(node->input(4));
  if (!groups || !epsilon) {
    return false;
  }
  const Value* input = node->input(0);
  const std::vector<int64_t> sizes = sizes_of(input);
  std::optional<View> added, scale, shift;
  if (const auto found = deferred_.find(input); found != deferred_.end()) {
    input = found->second.picture;
    added = row_vectors(found->second.vector, sizes[0], sizes[1]);
  }
  const Value* result = node->output();
  const auto fuse = [&](const Node* next) {
    done_.insert(next);
    result = next->output();
  };
  float scale_offset = 0;
  Node* next = only_user(result);
  if (next != nullptr && is(next, "aten::addcmul") && number(next->input(3)) == 1.0) {
    const Value* factor = next->input(1) == result ? next->input(2) : next->input(1);
    const std::vector<int64_t> shape = sizes_of(factor);
    // scale + 1 is done here too
    if (const Node* sum = factor->node();
        is(sum, "aten::add") && number(sum->input(1)) && number(sum->input(2)) == 1.0 && is_ready(sum->input(0))) {
      scale_offset = static_cast<float>(*number(sum->input(1)));
      factor = sum->input(0);
    }
    if (shape.size() == sizes.size()) {
      scale = row_vectors(factor, sizes[0], sizes[1]);
      shift = row_vectors(next->input(0), sizes[0], sizes[1]);
    }
    if (scale && shift) {
      fuse(next);
    } else {
      scale = shift = {};
    }
  }
  bool silu = false;
  next = only_user(result);
  if (next != nullptr && is(next, "aten::silu")) {
    silu = true;
    fuse(next);
  }
  const auto dimensions = static_cast<int64_t>(sizes.size());
  const View src = picture(input);
  const View dst = new_view(sizes, channels_last(dimensions), state());
  known(result).view = dst;

  kernels_of::Norm norm{};
  norm.batch = sizes[0];
  norm.channels = sizes[1];
  norm.positions = src.meta.numel() / (sizes[0] * sizes[1]);
  norm.groups = static_cast<int64_t>(*groups);
  norm.epsilon = static_cast<float>(*epsilon);
  norm.silu = silu;
  norm.bfloat16 = bfloat16_;
  norm.scale_offset = scale_offset;
  Step step;
  step.shown.what = std::string(added ? "sum, " : "") + "group norm" + (scale ? ", scale and shift" : "") +
                    (silu ? ", SiLU" : "") + ", " + std::to_string(sizes[1]) + " channels at " +
                    (sizes.size() == 4 ? times(sizes[2], sizes[3]) : std::to_string(norm.positions));
  step.shown.how = "Highway";
  step.reads = {src.buffer};
  step.writes = {dst.buffer};
  for (const auto& vectors : {added, scale, shift}) {
    if (vectors) {
      step.reads.push_back(vectors->buffer);
    }
  }
  const Tensor weight = *weight_of(node->input(2)), bias = *weight_of(node->input(3));
  step.run = [this, norm, weight, bias, from = place(src), to = place(dst), added, scale, shift](Frame& f) {
    const auto rows = [&](const std::optional<View>& v) {
      return v ? kernels_of::Rows{reinterpret_cast<const float*>(at(f, place(*v))), v->meta.stride(0)}
               : kernels_of::Rows{};
    };
    kernels_of::Norm now = norm;
    now.src = at(f, from);
    now.dst = at(f, to);
    now.weight = weight.defined() ? weight.const_data_ptr<float>() : nullptr;
    now.bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr;
    now.added = rows(added);
    now.scale = rows(scale);
    now.shift = rows(shift);
    kernels_.group_norm(now);
  };
  steps.push_back(std::move(step));
  return true;
}

bool Lowering::lower_attention(Node* node) {
  // (query, key, value, mask, dropout, causal, scale, …)
  if (!is(node, "aten::scaled_dot_product_attention")) {
    return false;
  }
  const auto none = [&](size_t i) {
    const auto c = constant(node->input(i));
    return c && c->isNone();
  };
  const std::vector<int64_t> q = sizes_of(node->input(0)), k = sizes_of(node->input(1)), v = sizes_of(node->input(2));
  if (q.size() != 4 || k.size() != 4 || v.size() != 4 || q[1] != k[1] || !none(3) || number(node->input(4)) != 0.0 ||
      number(node->input(5)) != 0.0) {
    return false;
  }
  const auto given = number(node->input(6));
  const auto reads = [&](const Value* value) {
    const Known& found = known(value);
    const bool fits = found.view && found.view->meta.scalar_type() == state() && found.view->meta.stride(3) == 1;
    return fits ? *found.view : in_memory(value, as_listed(4), state());
  };
  const View query = reads(node->input(0)), key = reads(node->input(1)), value = reads(node->input(2));
  const std::vector<int64_t> sizes = {q[0], q[1], q[2], v[3]};
  const View dst = new_view(sizes, {0, 2, 1, 3}, state());
  known(node->output()).view = dst;
  const kernels_of::Attention shape{
      .batch = q[0],
      .heads = q[1],
      .queries = q[2],
      .keys = k[2],
      .width = q[3],
      .value_width = v[3],
      .scale = static_cast<float>(given ? *given : 1 / std::sqrt(static_cast<double>(q[3]))),
      .bfloat16 = bfloat16_,
      .query = {},
      .key = {},
      .value = {},
      .dst = nullptr,
  };
  Step step;
  step.shown = {"attention, " + std::to_string(q[1]) + " head(s) of " + std::to_string(q[3]) + ", " +
                    std::to_string(q[2]) + " queries",
                "Highway"};
  step.reads = {query.buffer, key.buffer, value.buffer};
  step.writes = {dst.buffer};
  step.run = [this, shape, query, key, value, to = place(dst)](Frame& f) {
    const auto heads = [&](const View& of) {
      return kernels_of::Heads{at(f, place(of)), of.meta.stride(0), of.meta.stride(1), of.meta.stride(2)};
    };
    kernels_of::Attention now = shape;
    now.query = heads(query);
    now.key = heads(key);
    now.value = heads(value);
    now.dst = at(f, to);
    kernels_.attention(now);
  };
  steps.push_back(std::move(step));
  return true;
}

bool Lowering::lower_concat(Node* node) {
  if (!is(node, "aten::cat") || number(node->input(1)) != 1.0 || sizes_of(node->output()).size() != 4 ||
      node->input(0)->node()->kind() != c10::prim::ListConstruct) {
    return false;
  }
  const auto parts = node->input(0)->node()->inputs();
  const auto lowered = [&](const Value* v) { return known(v).view.has_value(); };
  if (parts.size() > static_cast<size_t>(kernels_of::ConcatShape::most) ||
      !std::all_of(parts.begin(), parts.end(), lowered)) {
    return false;
  }
  const std::vector<int64_t> sizes = sizes_of(node->output());
  kernels_of::ConcatShape shape{};
  shape.positions = sizes[0] * sizes[2] * sizes[3];
  shape.count = static_cast<int64_t>(parts.size());
  shape.bfloat16 = bfloat16_;
  std::vector<Place> from;
  Step step;
  for (const Value* part : parts) {
    const View v = picture(part);
    shape.channels[from.size()] = sizes_of(part)[1];
    from.push_back(place(v));
    step.reads.push_back(v.buffer);
  }
  const View dst = new_view(sizes, channels_last(4), state());
  known(node->output()).view = dst;
  step.shown = {"concatenation, " + std::to_string(sizes[1]) + " channels at " + times(sizes[2], sizes[3]), "copy"};
  step.writes = {dst.buffer};
  step.run = [this, shape, from, to = place(dst)](Frame& f) {
    const void* sources[kernels_of::ConcatShape::most] = {};
    for (size_t i = 0; i < from.size(); ++i) {
      sources[i] = at(f, from[i]);
    }
    kernels_.concat(shape, sources, at(f, to));
  };
  steps.push_back(std::move(step));
  return true;
}

bool Lowering::lower_resizing(Node* node) {
  const bool pool = is(node, "aten::avg_pool2d"), resize = is(node, "aten::upsample_nearest2d");
  if ((!pool && !resize) || !known(node->input(0)).view) {
    return false;
  }
  const std::vector<int64_t> in = sizes_of(node->input(0)), out = sizes_of(node->output());
  if (in.size() != 4 || out.size() != 4) {
    return false;
  }
  kernels_of::Operation* operation = nullptr;
  if (pool) {
    // (input, kernel, stride, padding, ceil, count_include_pad, divisor)
    const auto kernel = pair(integers(node->input(1))), stride = pair(integers(node->input(2)));
    const auto padding = integers(node->input(3));
    const auto divisor = constant(node->input(6));
    if (!kernel || !stride || !padding || kernel->size() != 2 || (stride->size() != 2 && !stride->empty()) ||
        std::any_of(padding->begin(), padding->end(), [](int64_t p) { return p != 0; }) || !divisor ||
        !divisor->isNone()) {
      return false;
    }
    const std::vector<int64_t>& step = stride->empty() ? *kernel : *stride;
    operation = kernels_.make_pool(
        {in[0], in[1], in[2], in[3], out[2], out[3], (*kernel)[0], (*kernel)[1], step[0], step[1], bfloat16_});
    if (operation == nullptr) {
      return false;
    }
    operations_.push_back(operation);
  } else {
    // Factors that are given, and differ from the sizes' ratio, choose other pixels.
    for (size_t i = 2; i < node->inputs().size(); ++i) {
      const auto factor = number(node->input(i));
      if (factor && *factor * static_cast<double>(in[i]) != static_cast<double>(out[i])) {
        return false;
      }
    }
  }
  const View src = picture(node->input(0));
  const View dst = new_view(out, channels_last(4), state());
  known(node->output()).view = dst;
  Step step;
  step.shown = {std::string(pool ? "mean of windows" : "nearest pixel") + ", " + std::to_string(in[1]) +
                    " channels to " + times(out[2], out[3]),
                pool ? kernels_.implementation(operation) : "copy"};
  step.reads = {src.buffer};
  step.writes = {dst.buffer};
  const int64_t pixel = in[1] * static_cast<int64_t>(src.meta.element_size());
  step.run = [this, operation, in, out, pixel, from = place(src), to = place(dst)](Frame& f) {
    if (operation != nullptr) {
      kernels_.run(operation, at(f, from), nullptr, at(f, to));
    } else {
      kernels_.resize(in[0], in[2], in[3], out[2], out[3], pixel, at(f, from), at(f, to));
    }
  };
  steps.push_back(std::move(step));
  return true;
}

}  // namespace retort
