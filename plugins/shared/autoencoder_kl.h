/// diffusers' `AutoencoderKL`: its keys, its encoder, its decoder.
///
/// Source: diffusers 0.42.1, `models/autoencoders/autoencoder_kl.py`, `vae.py`; Rombach et al. 2022 (arXiv 2112.10752).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "diffusers_keys.h"
#include "latent_scale.h"

namespace retort::diffusers {

struct KlKeys {
  explicit KlKeys(Params& p)
      : in(p.get("in_channels", 3, "channels of a picture", at_least(1))),
        out(p.get("out_channels", 3, "channels of what is decoded", at_least(1))),
        latents(p.get("latent_channels", 4, "channels of the latents", at_least(1))),
        layers(p.get("layers_per_block", 1, "residual blocks of each level on the way down; one more on the way up",
                     at_least(1))),
        groups(p.get("norm_num_groups", 32, "groups of each GroupNorm", at_least(1))),
        widths(p.get("block_out_channels", std::vector<int64_t>{64}, "channels of each level, the finest first",
                     at_least(1))),
        down(p.get("down_block_types", std::vector<std::string>{"DownEncoderBlock2D"},
                   "levels on the way down, the finest first: DownEncoderBlock2D or AttnDownEncoderBlock2D")),
        up(p.get("up_block_types", std::vector<std::string>{"UpDecoderBlock2D"},
                 "levels on the way up, the coarsest first: UpDecoderBlock2D or AttnUpDecoderBlock2D")),
        act(activation_key(p, "act_fn", "silu", "activation of the residual blocks", false)),
        quant(p.get("use_quant_conv", true, "a convolution of one pixel behind the encoder")),
        post_quant(p.get("use_post_quant_conv", true, "a convolution of one pixel before the decoder")),
        mid_attends(p.get("mid_block_add_attention", true, "attention in the middle of encoder and decoder")),
        wide(p.get("force_upcast", true, "float32 even where the backend computes in float16, which is too narrow")),
        scale(p, 0.18215, latents, true) {
    if (widths.empty() || down.size() != widths.size() || up.size() != widths.size()) {
      throw p.error("block_out_channels", "has " + std::to_string(widths.size()) + " numbers, down_block_types " +
                                              std::to_string(down.size()) + " words, up_block_types " +
                                              std::to_string(up.size()) + "; expected one of each for every level");
    }
    for (const std::string& word : down) {
      down_attends.push_back(attends(p, "down_block_types", word, "DownEncoderBlock2D"));
    }
    for (const std::string& word : up) {
      up_attends.push_back(attends(p, "up_block_types", word, "UpDecoderBlock2D"));
    }
    factor = power_of_levels(p, "block_out_channels", 2, widths.size() - 1);
  }

  CodedSizes sizes() const { return {in, out, latents, factor, factor}; }

  LevelOptions level(int64_t from, int64_t to, int64_t blocks, bool attends, bool last) const {
    LevelOptions o;
    o.kind = attends ? BlockKind::attn : BlockKind::plain;
    o.layers = blocks;
    o.in = from, o.out = to;
    o.last = last;
    o.groups = groups;
    o.resnet.eps = eps;
    o.resnet.act = act;
    o.padded = false;
    o.head_size = to;
    return o;
  }

  static constexpr double eps = 1e-6;
  int64_t in, out, latents, layers, groups, factor = 1;
  std::vector<int64_t> widths;
  std::vector<std::string> down, up;
  std::vector<bool> down_attends, up_attends;
  std::string act;
  bool quant, post_quant, mid_attends, wide;
  LatentScale scale;

 private:
  static bool attends(const Params& p, const char* key, const std::string& word, const std::string& plain) {
    const std::string name = word.starts_with("UNetRes") ? word.substr(7) : word;  // as old files call them
    if (name != plain && name != "Attn" + plain) {
      throw p.error(key, "'" + word + "' is not supported; expected " + plain + " or Attn" + plain);
    }
    return name != plain;
  }
};

/// Residual blocks, each with an attention behind it where it has one, and what leads to the next level.
struct CodingBlock : nn::Module {
  CodingBlock(const LevelOptions& o, bool up) {
    resnets = register_module("resnets", std::make_shared<List<Resnet>>());
    mixers = register_module("attentions", std::make_shared<List<Mixer>>());
    for (int64_t i = 0; i < o.layers; ++i) {
      resnets->add(Resnet::Shape{i == 0 ? o.in : o.out, o.out, o.groups, o.groups}, o.resnet);
      if (auto mixer = make_mixer(o, i)) {
        mixers->put(std::move(mixer));
      }
    }
    between.emplace(*this, o, up);
  }

  Tensor forward(Tensor h) const {
    for (size_t i = 0; i < resnets->size(); ++i) {
      h = (*resnets)[i].forward(h, {});
      if (i < mixers->size()) {
        h = (*mixers)[i].forward(h, {});
      }
    }
    return *between ? between->forward(h, {}) : h;
  }

  std::shared_ptr<List<Resnet>> resnets;
  std::shared_ptr<List<Mixer>> mixers;
  std::optional<Between> between;
};

/// What encoder and decoder have in common: the middle, and the end.
struct Coder : nn::Module {
  explicit Coder(const KlKeys& k, int64_t in, int64_t out, int64_t first, int64_t last) {
    const int64_t middle = k.widths.back();
    conv_in = register_module("conv_in", std::make_shared<Conv2d>(in, first, 3, 1, 1));
    const std::shared_ptr<Mixer> mixer =
        k.mid_attends ? make_mixer(k.level(middle, middle, 1, true, true), 0) : std::shared_ptr<Mixer>();
    mid_block = register_module(
        "mid_block", std::make_shared<MidBlock>(k.level(middle, middle, 1, false, true), mixer, /*both=*/true));
    conv_norm_out = register_module("conv_norm_out", std::make_shared<GroupNorm>(k.groups, last, KlKeys::eps));
    conv_out = register_module("conv_out", std::make_shared<Conv2d>(last, out, 3, 1, 1));
  }

  Tensor finish(const Tensor& h) const { return conv_out->forward(at::silu(conv_norm_out->forward(h))); }

  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<MidBlock> mid_block;
  std::shared_ptr<GroupNorm> conv_norm_out;
};

struct KlEncoder : Coder {
  explicit KlEncoder(const KlKeys& k) : Coder(k, k.in, 2 * k.latents, k.widths.front(), k.widths.back()) {
    blocks = register_module("down_blocks", std::make_shared<List<CodingBlock>>());
    for (size_t i = 0; i < k.widths.size(); ++i) {
      blocks->add(
          k.level(k.widths[i == 0 ? 0 : i - 1], k.widths[i], k.layers, k.down_attends[i], i + 1 == k.widths.size()),
          /*up=*/false);
    }
  }
  /// x: [B, C, H, W]. Returns [B, 2c, h, w].
  Tensor forward(const Tensor& x) const {
    Tensor h = conv_in->forward(x);
    for (size_t i = 0; i < blocks->size(); ++i) {
      h = (*blocks)[i].forward(h);
    }
    return finish(mid_block->forward(h, {}));
  }

  std::shared_ptr<List<CodingBlock>> blocks;
};

struct KlDecoder : Coder {
  explicit KlDecoder(const KlKeys& k) : Coder(k, k.latents, k.out, k.widths.back(), k.widths.front()) {
    blocks = register_module("up_blocks", std::make_shared<List<CodingBlock>>());
    const std::vector<int64_t> widths(k.widths.rbegin(), k.widths.rend());
    for (size_t i = 0; i < widths.size(); ++i) {
      blocks->add(k.level(widths[i == 0 ? 0 : i - 1], widths[i], k.layers + 1, k.up_attends[i], i + 1 == widths.size()),
                  /*up=*/true);
    }
  }
  /// z: [B, c, h, w]. Returns [B, C, H, W].
  Tensor forward(const Tensor& z) const {
    Tensor h = mid_block->forward(conv_in->forward(z), {});
    for (size_t i = 0; i < blocks->size(); ++i) {
      h = (*blocks)[i].forward(h);
    }
    return finish(h);
  }

  std::shared_ptr<List<CodingBlock>> blocks;
};

struct KlBody : nn::Module {
  explicit KlBody(const KlKeys& k) {
    encoder = register_module("encoder", std::make_shared<KlEncoder>(k));
    decoder = register_module("decoder", std::make_shared<KlDecoder>(k));
    if (k.quant) {
      quant_conv = register_module("quant_conv", std::make_shared<Conv2d>(2 * k.latents, 2 * k.latents, 1));
    }
    if (k.post_quant) {
      post_quant_conv = register_module("post_quant_conv", std::make_shared<Conv2d>(k.latents, k.latents, 1));
    }
  }

  Tensor encode(const Tensor& x) const {
    const Tensor h = encoder->forward(x.to(encoder->conv_in->weight.scalar_type()));
    return quant_conv != nullptr ? quant_conv->forward(h) : h;
  }
  Tensor decode(const Tensor& z) const {
    const Tensor h = z.to(decoder->conv_in->weight.scalar_type());
    return decoder->forward(post_quant_conv != nullptr ? post_quant_conv->forward(h) : h);
  }

  std::shared_ptr<KlEncoder> encoder;
  std::shared_ptr<KlDecoder> decoder;
  std::shared_ptr<Conv2d> quant_conv, post_quant_conv;
};

/// Holds sizes against the pictures that a network is to be trained on.
inline void fit_pictures(const Params& p, const std::string& name, const char* levels, const CodedSizes& sizes,
                         const ModelSpec& spec) {
  if (spec.shape.size() != 3) {
    throw p.error("type", "'" + name + "' is for pictures [channels, height, width]; this data set has samples of " +
                              std::to_string(spec.shape.size()) + " dimension(s)");
  }
  if (sizes.in != spec.shape[0]) {
    throw p.error("in_channels", std::to_string(sizes.in) + " is not supported for pictures of " +
                                     std::to_string(spec.shape[0]) + " channels; expected " +
                                     std::to_string(spec.shape[0]));
  }
  if (spec.shape[1] % sizes.down != 0 || spec.shape[2] % sizes.down != 0) {
    throw p.error(levels, "its levels cannot halve a picture of " + std::to_string(spec.shape[1]) + " x " +
                              std::to_string(spec.shape[2]) + "; expected sides that " + std::to_string(sizes.down) +
                              " divides");
  }
}

}  // namespace retort::diffusers
