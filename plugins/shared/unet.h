/// The U-Net that the networks `unet` and `unet_text` are made of. The order in which its layers are made decides their
/// random weights, and their names are those in checkpoints: neither changes.
#pragma once

#include <retort/host.h>

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <cmath>

#include "embedding.h"

namespace retort::unet_parts {

namespace nn = torch::nn;

inline const double half_root = std::sqrt(0.5);  // keeps the variance of a sum of two branches

inline nn::Conv2d conv(int64_t in, int64_t out, int64_t kernel) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, kernel).padding(kernel / 2));
}

/// A group norm. Its forward-mode derivative reads a tensor as one block, whatever the order of its memory.
inline Tensor normalised(nn::GroupNorm& norm, const Tensor& x) {
  return norm(x._fw_grad(0).defined() ? x.contiguous() : x);
}

template <class Layer>
Layer zeroed(Layer layer) {
  const at::NoGradGuard no_grad;
  layer->weight.zero_();
  layer->bias.zero_();
  return layer;
}

enum class Resize { none, down, up };

struct Block : nn::Module {
  Block(int64_t in, int64_t out, int64_t embedding, int64_t groups, double dropout, bool attention, Resize resizing)
      : resize(resizing), width(out) {
    norm0 = register_module("norm0", nn::GroupNorm(groups, in));
    conv0 = register_module("conv0", conv(in, out, 3));
    affine = register_module("affine", nn::Linear(embedding, 2 * out));
    norm1 = register_module("norm1", nn::GroupNorm(groups, out));
    drop = register_module("drop", nn::Dropout(dropout));
    conv1 = register_module("conv1", zeroed(conv(out, out, 3)));
    if (in != out) {
      skip = register_module("skip", conv(in, out, 1));
    }
    if (attention) {
      norm2 = register_module("norm2", nn::GroupNorm(groups, out));
      qkv = register_module("qkv", conv(out, 3 * out, 1));
      proj = register_module("proj", zeroed(conv(out, out, 1)));
    }
  }

  // size: height and width to come back to, for Resize::up
  Tensor forward(Tensor x, const Tensor& embedding, at::IntArrayRef size) {
    if (resize == Resize::down) {
      x = at::avg_pool2d(x, 2, 2, 0, /*ceil_mode=*/true, /*count_include_pad=*/false);
    } else if (resize == Resize::up) {
      x = at::upsample_nearest2d(x, size);
    }
    Tensor h = conv0(at::silu(normalised(norm0, x)));
    const auto scale_shift = affine(embedding).unsqueeze(2).unsqueeze(3).chunk(2, 1);
    h = at::silu(at::addcmul(scale_shift[1], normalised(norm1, h), scale_shift[0] + 1));
    h = conv1(drop(h));
    x = ((skip.is_empty() ? x : skip(x)) + h) * half_root;
    return qkv.is_empty() ? x : (x + proj(attend(x))) * half_root;
  }

  Tensor attend(const Tensor& x) {
    const int64_t b = x.size(0), c = x.size(1), positions = x.size(2) * x.size(3);
    const auto parts = qkv(normalised(norm2, x)).reshape({b, 3, c, positions}).transpose(2, 3).unbind(1);
    const Tensor a =
        at::scaled_dot_product_attention(parts[0].unsqueeze(1), parts[1].unsqueeze(1), parts[2].unsqueeze(1));
    return a.squeeze(1).transpose(1, 2).reshape(x.sizes());
  }

  Resize resize;
  int64_t width;
  bool attends = false;  // a place of the network where it attends, by this block or behind it
  nn::GroupNorm norm0{nullptr}, norm1{nullptr}, norm2{nullptr};
  nn::Conv2d conv0{nullptr}, conv1{nullptr}, skip{nullptr}, qkv{nullptr}, proj{nullptr};
  nn::Linear affine{nullptr};
  nn::Dropout drop{nullptr};
};

struct Shape {
  int64_t channels, patch, blocks, embedding, groups;
  std::vector<int64_t> widths;
  std::vector<int64_t> attention;
  double dropout, frequency;
  bool attention_behind = false;  // something behind the blocks attends in their place
};

struct Body : nn::Module {
  Body(const Shape& shape, const ModelSpec& spec)
      : patch(shape.patch), frequencies(shape.embedding / 2), frequency(shape.frequency) {
    const int64_t folded = shape.channels * patch * patch;
    const auto levels = static_cast<int64_t>(shape.widths.size());
    noise0 = register_module("noise0", nn::Linear(frequencies, shape.embedding));
    noise1 = register_module("noise1", nn::Linear(shape.embedding, shape.embedding));
    if (spec.classes() > 0) {
      label = register_module("label", nn::Embedding(spec.classes() + 1, shape.embedding));
    }
    numbers = NumberInputs(*this, spec, frequencies, frequency, shape.embedding);
    int64_t width = shape.widths[0];
    input = register_module("input", conv(folded, width, 3));
    std::vector<int64_t> skips = {width};
    const auto block = [&](const std::string& name, int64_t in, int64_t out, bool attention, Resize resize) {
      const bool own = attention && !shape.attention_behind;
      const auto made = std::make_shared<Block>(in, out, shape.embedding, shape.groups, shape.dropout, own, resize);
      made->attends = attention;
      return register_module(name, made);
    };
    const auto attends = [&](int64_t level) {
      return std::find(shape.attention.begin(), shape.attention.end(), level) != shape.attention.end();
    };
    for (int64_t level = 0; level < levels; ++level) {
      const std::string at = "down" + std::to_string(level) + "_";
      if (level > 0) {
        down.push_back(block(at + "resize", width, width, false, Resize::down));
        skips.push_back(width);
      }
      for (int64_t i = 0; i < shape.blocks; ++i) {
        const int64_t out = shape.widths[static_cast<size_t>(level)];
        down.push_back(block(at + std::to_string(i), width, out, attends(level), Resize::none));
        skips.push_back(width = out);
      }
    }
    middle0 = block("middle0", width, width, attends(levels - 1), Resize::none);
    middle1 = block("middle1", width, width, false, Resize::none);
    for (int64_t level = levels - 1; level >= 0; --level) {
      const std::string at = "up" + std::to_string(level) + "_";
      if (level < levels - 1) {
        up.push_back(block(at + "resize", width, width, false, Resize::up));
      }
      for (int64_t i = 0; i <= shape.blocks; ++i) {
        const int64_t out = shape.widths[static_cast<size_t>(level)];
        up.push_back(block(at + std::to_string(i), width + skips.back(), out, attends(level), Resize::none));
        skips.pop_back();
        width = out;
      }
    }
    norm = register_module("norm", nn::GroupNorm(shape.groups, width));
    output = register_module("output", zeroed(conv(width, folded * spec.outputs, 3)));
  }

  /// What the blocks are told of noise level, class and numbers, less the last nonlinearity. [B, embedding]
  Tensor embed(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) {
    Tensor embedding = noise0(sinusoidal_embedding(c_noise, frequencies, frequency, x.scalar_type()));
    embedding = noise1(at::silu(numbers.add_to(embedding, condition)));
    if (const Tensor labels = condition[inputs::labels]; !label.is_empty() && labels.defined()) {
      embedding = embedding + label(labels);
    }
    return embedding;
  }

  /// x through all blocks. `behind(block, h)` changes what comes out of each.
  template <class Behind>
  Tensor through(const Tensor& x, Tensor embedding, Behind behind) {
    embedding = at::silu(embedding);
    Tensor h = input(patch > 1 ? at::pixel_unshuffle(x, patch) : x);
    std::vector<Tensor> skips = {h};
    for (const auto& block : down) {
      h = behind(*block, block->forward(h, embedding, {}));
      skips.push_back(h);
    }
    h = behind(*middle0, middle0->forward(h, embedding, {}));
    h = behind(*middle1, middle1->forward(h, embedding, {}));
    for (const auto& block : up) {
      const Tensor& skip = skips.back();
      if (block->resize == Resize::up) {
        h = behind(*block, block->forward(h, embedding, skip.sizes().slice(2)));
        continue;
      }
      h = behind(*block, block->forward(at::cat({h, skip}, 1), embedding, {}));
      skips.pop_back();
    }
    const Tensor out = output(at::silu(normalised(norm, h)));
    return patch > 1 ? at::pixel_shuffle(out, patch) : out;
  }

  int64_t patch;
  int64_t frequencies;
  double frequency;
  nn::Linear noise0{nullptr}, noise1{nullptr};
  NumberInputs numbers;
  nn::Embedding label{nullptr};
  nn::Conv2d input{nullptr}, output{nullptr};
  nn::GroupNorm norm{nullptr};
  std::vector<std::shared_ptr<Block>> down, up;
  std::shared_ptr<Block> middle0, middle1;
};

/// Whether such layers can be. An error says which key forbids it.
inline void check_shape(const Params& p, const Shape& shape) {
  if (shape.widths.empty()) {
    throw p.error("widths", "is empty; expected the channels of at least one level");
  }
  for (const int64_t width : shape.widths) {
    if (width % shape.groups != 0) {
      throw p.error("widths", std::to_string(width) + " is not a multiple of groups = " + std::to_string(shape.groups));
    }
  }
  for (const int64_t level : shape.attention) {
    if (level >= static_cast<int64_t>(shape.widths.size())) {
      throw p.error("attention", "level " + std::to_string(level) + " is out of range; expected 0 to " +
                                     std::to_string(shape.widths.size() - 1));
    }
  }
  if (shape.embedding % 4 != 0) {
    throw p.error("embedding", std::to_string(shape.embedding) + " is not a multiple of 4");
  }
}

/// The keys that both networks have; `attention` is what is said of that key.
inline Shape read_shape(Params& p, const char* attention) {
  Shape shape;
  shape.patch = p.get("patch", 1, "fold squares of this side into channels", at_least(1));
  shape.widths = p.get("widths", std::vector<int64_t>{32, 64},
                       "channels of each level; each level halves the resolution", at_least(1));
  shape.blocks = p.get("blocks", 1, "residual blocks per level on the way down; one more on the way up", at_least(1));
  shape.attention = p.get("attention", std::vector<int64_t>{1}, attention, at_least(0));
  shape.embedding = p.get("embedding", 128, "features of the noise and class embedding; a multiple of 4", at_least(4));
  shape.frequency = embedding_frequency(p);
  shape.groups = p.get("groups", 8, "groups of each GroupNorm; divides every width", at_least(1));
  shape.dropout =
      p.get("dropout", 0.0, "share of features dropped in training", {.low = 0, .high = 1, .high_open = true});
  check_shape(p, shape);
  return shape;
}

/// Fits the layers to the samples, which must be pictures. `name` is the network's.
inline void fit_to_pictures(const Params& p, const std::string& name, const ModelSpec& spec, Shape& shape) {
  if (spec.shape.size() != 3) {
    throw p.error("type", "'" + name + "' is for pictures [channels, height, width]; this data set has samples of " +
                              std::to_string(spec.shape.size()) + " dimension(s); 'mlp' is for points");
  }
  if (spec.shape[1] % shape.patch != 0 || spec.shape[2] % shape.patch != 0) {
    throw p.error("patch", std::to_string(shape.patch) + " does not divide the picture of " +
                               std::to_string(spec.shape[1]) + " x " + std::to_string(spec.shape[2]));
  }
  shape.channels = spec.shape[0];
}

}  // namespace retort::unet_parts
