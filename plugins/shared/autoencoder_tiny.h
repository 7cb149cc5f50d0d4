/// diffusers' `AutoencoderTiny`: its keys, and its layers, which are numbered through.
///
/// Source: diffusers 0.42.1, `models/autoencoders/autoencoder_tiny.py`, `vae.py`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autoencoder_kl.h"

namespace retort::diffusers {

struct TinyKeys {
  explicit TinyKeys(Params& p)
      : in(p.get("in_channels", 3, "channels of a picture", at_least(1))),
        out(p.get("out_channels", 3, "channels of what is decoded", at_least(1))),
        latents(p.get("latent_channels", 4, "channels of the latents", at_least(1))),
        factor(p.get("upsampling_scaling_factor", 2, "by what each level but the last enlarges on the way up",
                     between(1, 64))),
        encoder_widths(p.get("encoder_block_out_channels", std::vector<int64_t>{64, 64, 64, 64},
                             "channels of each level on the way down, all the same", at_least(1))),
        decoder_widths(p.get("decoder_block_out_channels", std::vector<int64_t>{64, 64, 64, 64},
                             "channels of each level on the way up, all the same", at_least(1))),
        encoder_blocks(p.get("num_encoder_blocks", std::vector<int64_t>{1, 3, 3, 3},
                             "residual blocks of each level on the way down", between(0, 1000))),
        decoder_blocks(p.get("num_decoder_blocks", std::vector<int64_t>{3, 3, 3, 1},
                             "residual blocks of each level on the way up", between(0, 1000))),
        act(activation_key(p, "act_fn", "relu", "activation within the residual blocks, and behind the first layer",
                           false)),
        enlarge(p.choice("upsample_fn", "nearest", {"nearest", "nearest-exact", "area", "bilinear", "bicubic"},
                         "how pictures are enlarged on the way up")),
        scale(p, 1.0, latents, false) {
    p.get("latent_magnitude", 3.0, "of latents kept as bytes by diffusers; no effect here", more_than(0));
    p.get("latent_shift", 0.5, "of latents kept as bytes by diffusers; no effect here");
    p.get("force_upcast", false, "no effect, here and in diffusers");
    p.get("block_out_channels", std::vector<int64_t>{}, "what files repeat of decoder_block_out_channels; no effect");
    check(p, "encoder_block_out_channels", encoder_widths, "num_encoder_blocks", encoder_blocks);
    check(p, "decoder_block_out_channels", decoder_widths, "num_decoder_blocks", decoder_blocks);
    down = power_of_levels(p, "num_encoder_blocks", 2, encoder_blocks.size() - 1);
    up = power_of_levels(p, "num_decoder_blocks", factor, decoder_blocks.size() - 1);
  }

  CodedSizes sizes() const { return {in, out, latents, down, up}; }

  int64_t in, out, latents, factor, down = 1, up = 1;
  std::vector<int64_t> encoder_widths, decoder_widths, encoder_blocks, decoder_blocks;
  std::string act, enlarge;
  LatentScale scale;

 private:
  // Nothing in this model leads from one width to another.
  static void check(const Params& p, const char* key, const std::vector<int64_t>& widths, const char* other,
                    const std::vector<int64_t>& blocks) {
    if (widths.empty() || widths.size() != blocks.size()) {
      throw p.error(key, "has " + std::to_string(widths.size()) + " numbers, " + other + " " +
                             std::to_string(blocks.size()) + "; expected one of each for every level");
    }
    for (const int64_t width : widths) {
      if (width != widths[0]) {
        throw p.error(key, std::to_string(widths[0]) + " and " + std::to_string(width) +
                               " do not fit together; expected one number, the same for every level");
      }
    }
  }
};

/// Layers one behind the other, called "0", "1", …; those without weights count too.
struct Numbered : nn::Module {
  using Step = std::function<Tensor(const Tensor&)>;

  void add(Step step) { steps.push_back(std::move(step)); }
  template <class T>
  void add(std::shared_ptr<T> module) {
    register_module(std::to_string(steps.size()), module);
    steps.push_back([layer = module.get()](const Tensor& x) { return layer->forward(x); });
  }
  Tensor forward(Tensor x) const {
    for (const Step& step : steps) {
      x = step(x);
    }
    return x;
  }

  std::vector<Step> steps;
};

struct TinyBlock : nn::Module {
  TinyBlock(int64_t width, const std::string& act) {
    conv = register_module("conv", std::make_shared<Numbered>());
    for (int i = 0; i < 3; ++i) {
      if (i > 0) {
        conv->add([act](const Tensor& x) { return activation(act, x); });
      }
      conv->add(std::make_shared<Conv2d>(width, width, 3, 1, 1));
    }
  }
  Tensor forward(const Tensor& x) const { return at::relu(conv->forward(x) + x); }

  std::shared_ptr<Numbered> conv;
};

inline Tensor enlarged(const Tensor& x, int64_t factor, const std::string& how) {
  const std::vector<int64_t> size = {x.size(2) * factor, x.size(3) * factor};
  if (how == "bilinear") {
    return at::upsample_bilinear2d(x, size, /*align_corners=*/false);
  }
  if (how == "bicubic") {
    return at::upsample_bicubic2d(x, size, /*align_corners=*/false);
  }
  return at::upsample_nearest2d(x, size);  // the others agree with it for whole factors
}

/// Encoder or decoder: what is called "layers" there.
struct TinyCoder : nn::Module {
  TinyCoder() : layers(register_module("layers", std::make_shared<Numbered>())) {}
  void add_blocks(int64_t count, int64_t width, const std::string& act) const {
    for (int64_t i = 0; i < count; ++i) {
      layers->add(std::make_shared<TinyBlock>(width, act));
    }
  }

  std::shared_ptr<Numbered> layers;
};

struct TinyBody : nn::Module {
  explicit TinyBody(const TinyKeys& k) {
    encoder = register_module("encoder", std::make_shared<TinyCoder>());
    decoder = register_module("decoder", std::make_shared<TinyCoder>());
    fill_encoder(k);
    fill_decoder(k);
  }

  /// x: [B, C, H, W] in [-1, 1], which the layers see in [0, 1]; so it is with what they decode.
  Tensor encode(const Tensor& x) const { return encoder->layers->forward((x.to(dtype()) + 1) / 2); }
  Tensor decode(const Tensor& z) const {
    constexpr double most = 3;
    return decoder->layers->forward((z.to(dtype()) / most).tanh() * most) * 2 - 1;
  }

 private:
  at::ScalarType dtype() const { return first->weight.scalar_type(); }

  void fill_encoder(const TinyKeys& k) {
    const int64_t width = k.encoder_widths[0];
    first = std::make_shared<Conv2d>(k.in, width, 3, 1, 1);
    encoder->layers->add(first);
    encoder->add_blocks(k.encoder_blocks[0], width, k.act);
    for (size_t i = 1; i < k.encoder_blocks.size(); ++i) {
      encoder->layers->add(std::make_shared<Conv2d>(width, width, 3, 2, 1, /*with_bias=*/false));
      encoder->add_blocks(k.encoder_blocks[i], width, k.act);
    }
    encoder->layers->add(std::make_shared<Conv2d>(width, k.latents, 3, 1, 1));
  }

  void fill_decoder(const TinyKeys& k) {
    const int64_t width = k.decoder_widths[0];
    decoder->layers->add(std::make_shared<Conv2d>(k.latents, width, 3, 1, 1));
    decoder->layers->add([act = k.act](const Tensor& x) { return activation(act, x); });
    for (size_t i = 0; i + 1 < k.decoder_blocks.size(); ++i) {
      decoder->add_blocks(k.decoder_blocks[i], width, k.act);
      decoder->layers->add([f = k.factor, how = k.enlarge](const Tensor& x) { return enlarged(x, f, how); });
      decoder->layers->add(std::make_shared<Conv2d>(width, width, 3, 1, 1, /*with_bias=*/false));
    }
    decoder->add_blocks(k.decoder_blocks.back(), width, k.act);
    decoder->layers->add(std::make_shared<Conv2d>(width, k.out, 3, 1, 1));
  }

  std::shared_ptr<TinyCoder> encoder, decoder;
  std::shared_ptr<Conv2d> first;
};

}  // namespace retort::diffusers
