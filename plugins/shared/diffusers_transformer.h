/// The attentions of diffusers' `UNet2DConditionModel`, to a text's tokens and to the picture itself.
///
/// Source: diffusers 0.42.1, `models/transformers/transformer_2d.py`, `models/attention.py`,
/// `models/attention_processor.py`, `models/embeddings.py`.
#pragma once

#include <cmath>
#include <string>

#include "diffusers_blocks.h"

namespace retort::diffusers {

/// diffusers' `Attention` without norm, of which only the output has a bias.
struct CrossAttention : nn::Module {
  CrossAttention(int64_t width, int64_t context, int64_t heads_, bool upcast_) : heads(heads_), upcast(upcast_) {
    to_q = register_module("to_q", std::make_shared<Linear>(width, width, false));
    to_k = register_module("to_k", std::make_shared<Linear>(context, width, false));
    to_v = register_module("to_v", std::make_shared<Linear>(context, width, false));
    to_out = register_module("to_out", std::make_shared<First<Linear>>(width, width));
  }
  /// x: [B, N, width]; context: [B, L, context]; mask: [B, L] or undefined
  Tensor forward(const Tensor& x, const Tensor& context, const Tensor& mask) const {
    const Tensor mixed = attend(to_q->forward(x), to_k->forward(context), to_v->forward(context), heads, mask, upcast);
    return to_out->forward(mixed);
  }

  int64_t heads;
  bool upcast;
  std::shared_ptr<Linear> to_q, to_k, to_v;
  std::shared_ptr<First<Linear>> to_out;
};

/// `compute(x, given)` of a block that is given a text, as a part that may be computed again.
template <class F>
Tensor recomputed_with_text(const nn::Module& block, const F& compute, const Tensor& x, const Given& given) {
  const auto part = [compute](const Tensor& h, const Tensor& text, const Tensor& mask) {
    return compute(h, {.time = {}, .text = text, .mask = mask});
  };
  return recomputed(block, part, x, given.text, given.mask);
}

struct TransformerOptions {
  int64_t heads = 8, layers = 1;
  int64_t context = 0;  // numbers of a token
  int64_t groups = 32;
  bool linear = false;      // the layers in front and behind are linear, not convolutions; the numbers are the same
  bool only_cross = false;  // the first attention is to the tokens too
  bool upcast = false;      // attention in float32
};

/// diffusers' `BasicTransformerBlock`, with its GEGLU.
struct TransformerBlock : nn::Module {
  TransformerBlock(int64_t width, const TransformerOptions& o) : only_cross(o.only_cross) {
    norm1 = register_module("norm1", std::make_shared<LayerNorm>(width));
    const int64_t own = o.only_cross ? o.context : width;
    attn1 = register_module("attn1", std::make_shared<CrossAttention>(width, own, o.heads, o.upcast));
    norm2 = register_module("norm2", std::make_shared<LayerNorm>(width));
    attn2 = register_module("attn2", std::make_shared<CrossAttention>(width, o.context, o.heads, o.upcast));
    norm3 = register_module("norm3", std::make_shared<LayerNorm>(width));
    ff = register_module("ff", std::make_shared<FeedForward>(width, FeedForward::Kind::geglu));
  }
  /// x: [B, N, width]
  Tensor forward(const Tensor& x, const Given& given) const {
    return recomputed_with_text(
        *this, [this](const Tensor& h, const Given& g) { return compute(h, g); }, x, given);
  }

  bool only_cross;
  std::shared_ptr<LayerNorm> norm1, norm2, norm3;
  std::shared_ptr<CrossAttention> attn1, attn2;
  std::shared_ptr<FeedForward> ff;

 private:
  Tensor compute(Tensor x, const Given& given) const {
    // The first attention has no mask in diffusers, even where it is to the tokens.
    const Tensor own = norm1->forward(x);
    x = attn1->forward(own, only_cross ? given.text : own, {}) + x;
    x = attn2->forward(norm2->forward(x), given.text, given.mask) + x;
    return ff->forward(norm3->forward(x)) + x;
  }
};

/// diffusers' `Transformer2DModel`: a picture as a sequence.
struct Transformer2D : Mixer {
  Transformer2D(int64_t width, const TransformerOptions& options) : linear(options.linear) {
    const int64_t inner = options.heads * (width / options.heads);
    norm = register_module("norm", std::make_shared<GroupNorm>(options.groups, width, 1e-6));
    transformer_blocks = register_module("transformer_blocks", std::make_shared<List<TransformerBlock>>());
    for (int64_t i = 0; i < options.layers; ++i) {
      transformer_blocks->add(inner, options);
    }
    if (linear) {
      linear_in = register_module("proj_in", std::make_shared<Linear>(width, inner));
      linear_out = register_module("proj_out", std::make_shared<Linear>(inner, width));
    } else {
      conv_in = register_module("proj_in", std::make_shared<Conv2d>(width, inner, 1));
      conv_out = register_module("proj_out", std::make_shared<Conv2d>(inner, width, 1));
    }
  }

  Tensor forward(const Tensor& x, const Given& given) override {
    const auto sequence = [](const Tensor& h) { return h.flatten(2).transpose(1, 2); };
    const auto picture = [&](const Tensor& h) { return h.transpose(1, 2).unflatten(2, {x.size(2), x.size(3)}); };
    Tensor h = norm->forward(x);
    h = linear ? linear_in->forward(sequence(h)) : sequence(conv_in->forward(h));
    for (const auto& block : transformer_blocks->items) {
      h = block->forward(h, given);
    }
    return x + (linear ? picture(linear_out->forward(h)) : conv_out->forward(picture(h).contiguous()));
  }

  bool linear;
  std::shared_ptr<GroupNorm> norm;
  std::shared_ptr<Linear> linear_in, linear_out;
  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<List<TransformerBlock>> transformer_blocks;
};

/// The attention of SimpleCrossAttn blocks: to the tokens, and in the same sum to the picture's own places.
struct AddedAttention : Mixer {
  struct Shape {
    int64_t width, head_size, context, groups;
    bool only_cross;
    std::string cross_norm;  // "none", "layer_norm", "group_norm"
  };
  explicit AddedAttention(const Shape& s) : heads(heads_of(s.width, s.head_size)) {
    const auto linear = [&](const char* name, int64_t in, int64_t out) {
      return register_module(name, std::make_shared<Linear>(in, out));
    };
    group_norm = register_module("group_norm", std::make_shared<GroupNorm>(s.groups, s.width, 1e-5));
    if (s.cross_norm == "layer_norm") {
      norm_layer = register_module("norm_cross", std::make_shared<LayerNorm>(s.width));
    } else if (s.cross_norm == "group_norm") {
      norm_group = register_module("norm_cross", std::make_shared<GroupNorm>(32, s.context, 1e-5));
    }
    const int64_t inner = heads * s.head_size;
    to_q = linear("to_q", s.width, inner);
    if (!s.only_cross) {
      to_k = linear("to_k", s.width, inner);
      to_v = linear("to_v", s.width, inner);
    }
    add_k_proj = linear("add_k_proj", s.context, inner);
    add_v_proj = linear("add_v_proj", s.context, inner);
    to_out = register_module("to_out", std::make_shared<First<Linear>>(inner, s.width));
  }

  Tensor forward(const Tensor& x, const Given& given) override {
    return recomputed_with_text(
        *this, [this](const Tensor& h, const Given& g) { return compute(h, g); }, x, given);
  }

  int64_t heads;
  std::shared_ptr<GroupNorm> group_norm, norm_group;
  std::shared_ptr<LayerNorm> norm_layer;
  std::shared_ptr<Linear> to_q, to_k, to_v, add_k_proj, add_v_proj;
  std::shared_ptr<First<Linear>> to_out;

 private:
  Tensor compute(const Tensor& x, const Given& given) const {
    Tensor text = given.text;
    if (norm_layer != nullptr) {
      text = norm_layer->forward(text);
    } else if (norm_group != nullptr) {
      text = norm_group->forward(text.transpose(1, 2)).transpose(1, 2);
    }
    const Tensor own = group_norm->forward(x).flatten(2).transpose(1, 2);
    Tensor keys = add_k_proj->forward(text), values = add_v_proj->forward(text), mask = given.mask;
    if (to_k != nullptr) {
      keys = at::cat({keys, to_k->forward(own)}, 1);
      values = at::cat({values, to_v->forward(own)}, 1);
      mask = mask.defined() ? at::cat({mask, at::ones({x.size(0), own.size(1)}, mask.options())}, 1) : mask;
    }
    const Tensor mixed = attend(to_q->forward(own), keys, values, heads, mask);
    return to_out->forward(mixed).transpose(1, 2).reshape(x.sizes()) + x;
  }
};

/// diffusers' `TextTimeEmbedding`: a text's tokens as one row, by attention from their mean.
struct TextTimeEmbedding : nn::Module {
  struct Pool : nn::Module {
    Pool(int64_t width, int64_t heads_) : heads(heads_) {
      const at::NoGradGuard no_grad;
      positional_embedding = register_parameter(
          "positional_embedding", NewWeights::empty({1, width}).normal_() / std::sqrt(static_cast<double>(width)));
      k_proj = register_module("k_proj", std::make_shared<Linear>(width, width));
      q_proj = register_module("q_proj", std::make_shared<Linear>(width, width));
      v_proj = register_module("v_proj", std::make_shared<Linear>(width, width));
    }
    // x: [B, L, width]. Returns [B, width].
    Tensor forward(const Tensor& x) const {
      const Tensor mean = x.mean(1, true) + positional_embedding;
      const Tensor all = at::cat({mean, x}, 1);
      return attend(q_proj->forward(mean), k_proj->forward(all), v_proj->forward(all), heads).select(1, 0);
    }
    int64_t heads;
    Tensor positional_embedding;
    std::shared_ptr<Linear> k_proj, q_proj, v_proj;
  };

  TextTimeEmbedding(int64_t text, int64_t width, int64_t heads) {
    norm1 = register_module("norm1", std::make_shared<LayerNorm>(text));
    pool = register_module("pool", std::make_shared<Pool>(text, heads));
    proj = register_module("proj", std::make_shared<Linear>(text, width));
    norm2 = register_module("norm2", std::make_shared<LayerNorm>(width));
  }
  Tensor forward(const Tensor& text) const {
    return norm2->forward(proj->forward(pool->forward(norm1->forward(text))));
  }

  std::shared_ptr<LayerNorm> norm1, norm2;
  std::shared_ptr<Pool> pool;
  std::shared_ptr<Linear> proj;
};

}  // namespace retort::diffusers
