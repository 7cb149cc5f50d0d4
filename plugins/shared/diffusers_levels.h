/// The down, middle and up blocks of diffusers' U-Nets, each kind by its name there.
///
/// Source: diffusers 0.42.1, `models/unets/unet_2d_blocks.py`.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "diffusers_transformer.h"

namespace retort::diffusers {

enum class BlockKind { plain, attn, cross, resnet, simple, skip, attn_skip };

struct BlockName {
  const char *down, *up;
  BlockKind kind;
};
inline constexpr std::array<BlockName, 7> block_names = {{
    {"DownBlock2D", "UpBlock2D", BlockKind::plain},
    {"AttnDownBlock2D", "AttnUpBlock2D", BlockKind::attn},
    {"CrossAttnDownBlock2D", "CrossAttnUpBlock2D", BlockKind::cross},
    {"ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D", BlockKind::resnet},
    {"SimpleCrossAttnDownBlock2D", "SimpleCrossAttnUpBlock2D", BlockKind::simple},
    {"SkipDownBlock2D", "SkipUpBlock2D", BlockKind::skip},
    {"AttnSkipDownBlock2D", "AttnSkipUpBlock2D", BlockKind::attn_skip},
}};

inline bool skips_pictures(BlockKind kind) { return kind == BlockKind::skip || kind == BlockKind::attn_skip; }
inline bool reads_text(BlockKind kind) { return kind == BlockKind::cross || kind == BlockKind::simple; }

struct LevelOptions {
  BlockKind kind = BlockKind::plain;
  int64_t layers = 1;  // residual blocks
  int64_t in = 0;      // channels of what comes in; on the way up, without what is put beside it
  int64_t out = 0;
  int64_t below = 0;  // channels of the last thing that is put beside, on the way up
  bool last = false;  // no resampling behind
  int64_t groups = 32;
  ResnetOptions resnet;
  bool resnet_resampling = false;  // a whole residual block between levels, of AttnDownBlock2D and AttnUpBlock2D
  bool padded = true;              // downsampling convolutions are padded on all sides
  int64_t head_size = 8;           // of attentions other than transformers
  TransformerOptions transformer;
  std::vector<int64_t> depths;  // layers of each transformer
  bool only_cross = false;
  std::string cross_norm = "none";
};

/// Groups of NCSN++'s norms.
inline int64_t quarter(int64_t width) { return std::min<int64_t>(width / 4, 32); }

inline std::shared_ptr<Mixer> make_mixer(const LevelOptions& o, int64_t index) {
  switch (o.kind) {
    case BlockKind::attn:
      return std::make_shared<SelfAttention>(
          SelfAttention::Shape{o.out, o.head_size, o.groups, o.resnet.eps, o.resnet.scale});
    case BlockKind::attn_skip:
      return std::make_shared<SelfAttention>(
          SelfAttention::Shape{o.out, o.head_size, 32, o.resnet.eps, o.resnet.scale});
    case BlockKind::cross: {
      TransformerOptions transformer = o.transformer;
      transformer.layers = o.depths[static_cast<size_t>(index)];
      return std::make_shared<Transformer2D>(o.out, transformer);
    }
    case BlockKind::simple:
      return std::make_shared<AddedAttention>(
          AddedAttention::Shape{o.out, o.head_size, o.transformer.context, o.groups, o.only_cross, o.cross_norm});
    default:
      return nullptr;
  }
}

/// What stands between two levels: a convolution, a residual block, or that of NCSN++.
struct Between {
  Between(nn::Module& owner, const LevelOptions& o, bool up) {
    if (o.last) {
      return;
    }
    const std::string name = up ? "upsamplers" : "downsamplers";
    const Resample plain = up ? Resample::up : Resample::down, fir = up ? Resample::fir_up : Resample::fir_down;
    if (skips_pictures(o.kind)) {
      const int64_t groups = quarter(o.out);
      const Resnet::Shape shape{o.out, o.out, groups, groups, fir, true};
      resnet = owner.register_module(up ? "resnet_up" : "resnet_down", std::make_shared<Resnet>(shape, o.resnet));
    } else if (o.kind == BlockKind::resnet || o.kind == BlockKind::simple ||
               (o.kind == BlockKind::attn && o.resnet_resampling)) {
      const Resnet::Shape shape{o.out, o.out, o.groups, o.groups, plain};
      resnet = owner.register_module(name, std::make_shared<First<Resnet>>(shape, o.resnet))->item;
    } else {
      using Kind = Resampler::Kind;
      const Kind kind = up ? Kind::up : o.padded ? Kind::down : Kind::down_unpadded;
      conv = owner.register_module(name, std::make_shared<First<Resampler>>(o.out, kind))->item;
    }
  }

  explicit operator bool() const { return resnet != nullptr || conv != nullptr; }
  Tensor forward(const Tensor& x, const Tensor& time, at::IntArrayRef size = {}) const {
    return resnet != nullptr ? resnet->forward(x, time) : conv->forward(x, size);
  }

  std::shared_ptr<Resnet> resnet;
  std::shared_ptr<Resampler> conv;
};

struct DownBlock : nn::Module {
  explicit DownBlock(const LevelOptions& o) : kind(o.kind) {
    resnets = register_module("resnets", std::make_shared<List<Resnet>>());
    mixers = register_module("attentions", std::make_shared<List<Mixer>>());
    for (int64_t i = 0; i < o.layers; ++i) {
      const int64_t in = i == 0 ? o.in : o.out;
      const bool own = skips_pictures(kind);
      resnets->add(Resnet::Shape{in, o.out, own ? quarter(in) : o.groups, own ? quarter(o.out) : o.groups}, o.resnet);
      if (auto mixer = make_mixer(o, i)) {
        mixers->put(std::move(mixer));
      }
    }
    between.emplace(*this, o, false);
    if (skips_pictures(kind) && !o.last) {
      skip_conv = register_module("skip_conv", std::make_shared<Conv2d>(3, o.out, 1));
    }
  }

  /// Puts what the way up will need into `skips`. picture: the sample at this size, of the Skip blocks.
  Tensor forward(Tensor h, const Given& given, std::vector<Tensor>& skips, Tensor& picture) const {
    for (size_t i = 0; i < resnets->size(); ++i) {
      h = (*resnets)[i].forward(h, given.time);
      if (i < mixers->size()) {
        h = (*mixers)[i].forward(h, given);
      }
      skips.push_back(h);
    }
    if (*between) {
      h = between->forward(h, given.time);
      if (skip_conv != nullptr) {
        picture = fir_down(picture);
        h = skip_conv->forward(picture) + h;
      }
      skips.push_back(h);
    }
    return h;
  }

  BlockKind kind;
  std::shared_ptr<List<Resnet>> resnets;
  std::shared_ptr<List<Mixer>> mixers;
  std::optional<Between> between;
  std::shared_ptr<Conv2d> skip_conv;
};

struct UpBlock : nn::Module {
  explicit UpBlock(const LevelOptions& o) : kind(o.kind) {
    resnets = register_module("resnets", std::make_shared<List<Resnet>>());
    mixers = register_module("attentions", std::make_shared<List<Mixer>>());
    for (int64_t i = 0; i < o.layers; ++i) {
      const int64_t from = i == 0 ? o.in : o.out, beside = i == o.layers - 1 ? o.below : o.out;
      Resnet::Shape shape{from + beside, o.out, o.groups, o.groups};
      if (skips_pictures(kind)) {
        // In diffusers, the blocks with attention divide only what is put beside by four.
        shape.groups = kind == BlockKind::skip ? quarter(from + beside) : std::min<int64_t>(from + beside / 4, 32);
        shape.groups_out = quarter(o.out);
      }
      resnets->add(shape, o.resnet);
      if (auto mixer = kind == BlockKind::attn_skip && i > 0 ? nullptr : make_mixer(o, i)) {
        mixers->put(std::move(mixer));
      }
    }
    between.emplace(*this, o, true);
    if (skips_pictures(kind) && !o.last) {
      skip_conv = register_module("skip_conv", std::make_shared<Conv2d>(o.out, 3, 3, 1, 1));
      skip_norm = register_module("skip_norm", std::make_shared<GroupNorm>(quarter(o.out), o.out, o.resnet.eps));
    }
  }

  /// Takes its part of `skips`. size: height and width to come to, where twice the size is not it. picture: the sum of
  /// the Skip blocks' pictures, undefined at first.
  Tensor forward(Tensor h, const Given& given, std::vector<Tensor>& skips, at::IntArrayRef size,
                 Tensor& picture) const {
    for (size_t i = 0; i < resnets->size(); ++i) {
      h = (*resnets)[i].forward(at::cat({h, skips.back()}, 1), given.time);
      skips.pop_back();
      if (kind != BlockKind::attn_skip && i < mixers->size()) {
        h = (*mixers)[i].forward(h, given);
      }
    }
    if (kind == BlockKind::attn_skip) {
      h = (*mixers)[0].forward(h, given);
    }
    if (skips_pictures(kind) && picture.defined()) {
      picture = fir_up(picture);
    }
    if (skip_conv != nullptr) {
      const Tensor own = skip_conv->forward(at::silu(skip_norm->forward(h)));
      picture = picture.defined() ? picture + own : own;
    }
    return *between ? between->forward(h, given.time, size) : h;
  }

  BlockKind kind;
  std::shared_ptr<List<Resnet>> resnets;
  std::shared_ptr<List<Mixer>> mixers;
  std::optional<Between> between;
  std::shared_ptr<Conv2d> skip_conv;
  std::shared_ptr<GroupNorm> skip_norm;
};

/// A residual block, perhaps an attention, and, where `both`, a second residual block.
struct MidBlock : nn::Module {
  MidBlock(const LevelOptions& o, std::shared_ptr<Mixer> mixer_, bool both) : mixer(std::move(mixer_)) {
    resnets = register_module("resnets", std::make_shared<List<Resnet>>());
    const auto attentions = register_module("attentions", std::make_shared<List<Mixer>>());
    for (int i = 0; i < (both ? 2 : 1); ++i) {
      resnets->add(Resnet::Shape{o.out, o.out, o.groups, o.groups}, o.resnet);
    }
    if (mixer != nullptr) {
      attentions->put(mixer);
    }
  }

  Tensor forward(Tensor h, const Given& given) const {
    h = (*resnets)[0].forward(h, given.time);
    if (mixer != nullptr) {
      h = mixer->forward(h, given);
    }
    return resnets->size() > 1 ? (*resnets)[1].forward(h, given.time) : h;
  }

  std::shared_ptr<List<Resnet>> resnets;
  std::shared_ptr<Mixer> mixer;
};

}  // namespace retort::diffusers
