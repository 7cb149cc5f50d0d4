/// The residual blocks, resamplers and attentions of diffusers' U-Nets.
///
/// Source: diffusers 0.42.1, `models/resnet.py`, `downsampling.py`, `upsampling.py`, `attention_processor.py`.
#pragma once

#include <cmath>
#include <string>
#include <utility>

#include "diffusers_layers.h"

namespace retort::diffusers {

/// What every block is given beside what it works on.
struct Given {
  Tensor time;  // [B, T]: the embedding of noise level, class and more
  Tensor text;  // [B, L, X], or undefined
  Tensor mask;  // [B, L] bool, the tokens that are attended to, or undefined
};

/// The filter (1, 3, 3, 1) in both directions, of sum `gain`. [1, 1, 4, 4]
inline Tensor fir_filter(const Tensor& like, double gain) {
  const Tensor row = at::tensor({1.0, 3.0, 3.0, 1.0}, at::kDouble);
  return (at::outer(row, row) * (gain / 64)).to(like.device(), like.scalar_type()).view({1, 1, 4, 4});
}

/// Half or twice the size, smoothed by that filter. x: [B, C, H, W]
inline Tensor fir_down(const Tensor& x) {
  const Tensor planes = x.reshape({-1, 1, x.size(2), x.size(3)});
  return at::conv2d(planes, fir_filter(x, 1), {}, 2, 1).view({x.size(0), x.size(1), x.size(2) / 2, x.size(3) / 2});
}
inline Tensor fir_up(const Tensor& x) {
  const Tensor planes = x.reshape({-1, 1, x.size(2), x.size(3)});
  const Tensor out = at::conv_transpose2d(planes, fir_filter(x, 4), {}, 2, 1);
  return out.view({x.size(0), x.size(1), x.size(2) * 2, x.size(3) * 2});
}

inline Tensor nearest_up(const Tensor& x, at::IntArrayRef size = {}) {
  const std::vector<int64_t> twice = {x.size(2) * 2, x.size(3) * 2};
  return at::upsample_nearest2d(x, size.empty() ? at::IntArrayRef(twice) : size);
}

enum class Resample { none, down, up, fir_down, fir_up };

inline Tensor resampled(const Tensor& x, Resample how) {
  switch (how) {
    case Resample::down:
      return at::avg_pool2d(x, 2, 2);
    case Resample::up:
      return nearest_up(x);
    case Resample::fir_down:
      return fir_down(x);
    case Resample::fir_up:
      return fir_up(x);
    default:
      return x;
  }
}

/// What all residual blocks of a network, or of a block of it, have in common.
struct ResnetOptions {
  int64_t time = 0;  // numbers of the embedding; 0: none is taken in
  double eps = 1e-5;
  std::string act = "silu";
  bool scale_shift = false;
  bool skip_time_act = false;
  double dropout = 0;
  double scale = 1;  // by which the sum of both branches is divided
};

/// diffusers' `ResnetBlock2D`.
struct Resnet : nn::Module {
  struct Shape {
    int64_t in, out, groups, groups_out;
    Resample resample = Resample::none;
    bool shortcut = false;  // a convolution in the other branch, even where it keeps the width
  };

  Resnet(const Shape& shape, ResnetOptions options_) : options(std::move(options_)), resample(shape.resample) {
    norm1 = register_module("norm1", std::make_shared<GroupNorm>(shape.groups, shape.in, options.eps));
    conv1 = register_module("conv1", std::make_shared<Conv2d>(shape.in, shape.out, 3, 1, 1));
    if (options.time > 0) {
      const int64_t numbers = options.scale_shift ? 2 * shape.out : shape.out;
      time_emb_proj = register_module("time_emb_proj", std::make_shared<Linear>(options.time, numbers));
    }
    norm2 = register_module("norm2", std::make_shared<GroupNorm>(shape.groups_out, shape.out, options.eps));
    conv2 = register_module("conv2", std::make_shared<Conv2d>(shape.out, shape.out, 3, 1, 1));
    if (shape.shortcut || shape.in != shape.out) {
      conv_shortcut = register_module("conv_shortcut", std::make_shared<Conv2d>(shape.in, shape.out, 1));
    }
  }

  /// x: [B, in, H, W]; time: [B, T], or undefined
  Tensor forward(const Tensor& x, const Tensor& time) const {
    return recomputed(
        *this, [this](const Tensor& h, const Tensor& e) { return compute(h, e); }, x, time);
  }

  Tensor act(const Tensor& x) const { return activation(options.act, x); }

  ResnetOptions options;
  Resample resample;
  std::shared_ptr<GroupNorm> norm1, norm2;
  std::shared_ptr<Conv2d> conv1, conv2, conv_shortcut;
  std::shared_ptr<Linear> time_emb_proj;

 private:
  Tensor compute(const Tensor& x, const Tensor& time) const {
    Tensor h = conv1->forward(resampled(act(norm1->forward(x)), resample));
    if (time_emb_proj == nullptr) {
      h = norm2->forward(h);
    } else {
      const Tensor e = time_emb_proj->forward(options.skip_time_act ? time : act(time)).unsqueeze(2).unsqueeze(3);
      if (options.scale_shift) {
        const auto scale_shift = e.chunk(2, 1);
        h = norm2->forward(h) * (1 + scale_shift[0]) + scale_shift[1];
      } else {
        h = norm2->forward(h + e);
      }
    }
    h = conv2->forward(at::dropout(act(h), options.dropout, is_training()));
    Tensor branch = resampled(x, resample);
    if (conv_shortcut != nullptr) {
      branch = conv_shortcut->forward(branch);
    }
    return options.scale == 1 ? branch + h : (branch + h) / options.scale;
  }
};

/// A convolution between two levels, called "conv" there.
struct Resampler : nn::Module {
  enum class Kind { down, down_unpadded, up };
  Resampler(int64_t width, Kind kind_) : kind(kind_) {
    const int64_t stride = kind == Kind::up ? 1 : 2, padding = kind == Kind::down_unpadded ? 0 : 1;
    conv = register_module("conv", std::make_shared<Conv2d>(width, width, 3, stride, padding));
  }
  /// size: height and width to come to, where twice the size is not it
  Tensor forward(const Tensor& x, at::IntArrayRef size = {}) const {
    if (kind == Kind::up) {
      return conv->forward(nearest_up(x, size));
    }
    return conv->forward(kind == Kind::down_unpadded ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
  }

  Kind kind;
  std::shared_ptr<Conv2d> conv;
};

/// Something that stands behind a residual block and mixes places: [B, C, H, W] to the same.
struct Mixer : nn::Module {
  virtual Tensor forward(const Tensor& x, const Given& given) = 0;
};

/// Heads of that size; what remains of the width is left out.
inline int64_t heads_of(int64_t width, int64_t head_size) {
  if (head_size < 1 || head_size > width) {
    throw Misfit("attention_head_dim", "heads of " + std::to_string(head_size) +
                                           " channels do not fit into a block of " + std::to_string(width));
  }
  return width / head_size;
}

/// diffusers' `Attention` of a picture to itself, as `UNet2DModel` and autoencoders have it.
struct SelfAttention : Mixer {
  struct Shape {
    int64_t width, head_size;
    int64_t groups;  // 0: no norm
    double eps, scale;
  };
  explicit SelfAttention(const Shape& shape) : heads(heads_of(shape.width, shape.head_size)), scale(shape.scale) {
    const int64_t inner = heads * shape.head_size;
    if (shape.groups > 0) {
      group_norm = register_module("group_norm", std::make_shared<GroupNorm>(shape.groups, shape.width, shape.eps));
    }
    to_q = register_module("to_q", std::make_shared<Linear>(shape.width, inner));
    to_k = register_module("to_k", std::make_shared<Linear>(shape.width, inner));
    to_v = register_module("to_v", std::make_shared<Linear>(shape.width, inner));
    to_out = register_module("to_out", std::make_shared<First<Linear>>(inner, shape.width));
  }

  Tensor forward(const Tensor& x, const Given&) override {
    return recomputed(
        *this, [this](const Tensor& h) { return compute(h); }, x);
  }

  int64_t heads;
  double scale;
  std::shared_ptr<GroupNorm> group_norm;
  std::shared_ptr<Linear> to_q, to_k, to_v;
  std::shared_ptr<First<Linear>> to_out;

 private:
  Tensor compute(const Tensor& x) const {
    const Tensor h = (group_norm != nullptr ? group_norm->forward(x) : x).flatten(2).transpose(1, 2);
    const Tensor mixed = attend(to_q->forward(h), to_k->forward(h), to_v->forward(h), heads);
    const Tensor out = to_out->forward(mixed).transpose(1, 2).reshape(x.sizes()) + x;
    return scale == 1 ? out : out / scale;
  }
};

}  // namespace retort::diffusers
