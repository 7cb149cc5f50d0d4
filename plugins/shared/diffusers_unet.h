/// What diffusers' two U-Nets share: the embedding of noise level and conditions, and the way down and up.
///
/// Source: diffusers 0.42.1, `models/unets/unet_2d.py`, `unet_2d_condition.py`.
#pragma once

#include <retort/conditioning.h>

#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "diffusers_levels.h"

namespace retort::diffusers {

namespace unet_inputs {
inline constexpr std::string_view prompt = "prompt_embeds", mask = "attention_mask", pooled = "pooled_prompt_embeds",
                                  ids = "time_ids", class_numbers = "class_labels";
}  // namespace unet_inputs

struct UNetOptions {
  enum class Time { positional, learned, fourier };
  enum class Class { none, rows, timestep, identity, projection, simple_projection };
  enum class Addition { none, text, text_time };

  int64_t in = 3, out = 3, kernel_in = 3, kernel_out = 3;
  bool center = false;

  Time time = Time::positional;
  int64_t time_in = 0, time_width = 0;  // numbers before and behind the time embedding
  bool cosines_first = true;
  double freq_shift = 0;
  int64_t times = 0;      // learned: rows
  bool log_time = false;  // fourier: of the logarithm, and the output is divided by the time
  TimestepEmbedding::Options embedding;
  std::string embedding_act = "none";  // of the sum of all embeddings

  Class classes = Class::none;
  int64_t class_rows = 0, class_in = 0;
  std::string class_act = "silu";
  bool class_concat = false;

  Addition addition = Addition::none;
  int64_t addition_in = 0, id_width = 0, addition_heads = 64;
  int64_t text_width = 0, text_projected = 0;  // numbers of a token as it is given, and behind a projection (0: none)

  std::vector<LevelOptions> down, up;
  LevelOptions mid;
  bool has_mid = true, mid_both = true;
  std::shared_ptr<Mixer> mid_mixer;

  int64_t groups_out = 32;
  double eps = 1e-5;
  std::string act_out = "silu";
};

/// The first numbers that a time becomes.
struct TimeProjection : nn::Module {
  explicit TimeProjection(const UNetOptions& o)
      : kind(o.time), width(o.time_in), cosines_first(o.cosines_first), log_time(o.log_time), shift(o.freq_shift) {
    const at::NoGradGuard no_grad;
    if (kind == UNetOptions::Time::learned) {
      weight = register_parameter("weight", NewWeights::empty({o.times, width}).normal_());
    } else if (kind == UNetOptions::Time::fourier) {  // not trained
      weight = register_buffer("weight", NewWeights::empty({width / 2}).normal_() * (log_time ? 16.0 : 1.0));
    }
  }

  /// times: [B]. Returns [B, width].
  Tensor forward(const Tensor& times) const {
    if (kind == UNetOptions::Time::positional) {
      return time_waves(times, width, cosines_first, shift);
    }
    if (kind == UNetOptions::Time::learned) {
      return at::embedding(weight, times.round().to(at::kLong).clamp(0, weight.size(0) - 1));
    }
    const Tensor angle = (log_time ? times.log() : times).unsqueeze(1) * weight.unsqueeze(0) * 2 * std::numbers::pi;
    return cosines_first && !log_time ? at::cat({angle.cos(), angle.sin()}, 1) : at::cat({angle.sin(), angle.cos()}, 1);
  }

  UNetOptions::Time kind;
  int64_t width;
  bool cosines_first, log_time;
  double shift;
  Tensor weight;
};

struct UNetBody : nn::Module {
  using Class = UNetOptions::Class;
  using Addition = UNetOptions::Addition;

  UNetBody(UNetOptions options_, ModelSpec spec_) : options(std::move(options_)), spec(std::move(spec_)) {
    const UNetOptions& o = options;
    conv_in = register_module("conv_in",
                              std::make_shared<Conv2d>(o.in, width_of_first(), o.kernel_in, 1, (o.kernel_in - 1) / 2));
    time_proj = register_module("time_proj", std::make_shared<TimeProjection>(o));
    time_embedding =
        register_module("time_embedding", std::make_shared<TimestepEmbedding>(o.time_in, o.time_width, o.embedding));
    add_embeddings();
    down_blocks = register_module("down_blocks", std::make_shared<List<DownBlock>>());
    for (const LevelOptions& level : o.down) {
      down_blocks->add(level);
    }
    if (o.has_mid) {
      mid_block = register_module("mid_block", std::make_shared<MidBlock>(o.mid, o.mid_mixer, o.mid_both));
    }
    up_blocks = register_module("up_blocks", std::make_shared<List<UpBlock>>());
    for (const LevelOptions& level : o.up) {
      up_blocks->add(level);
    }
    const int64_t width = width_of_first();
    conv_norm_out = register_module("conv_norm_out", std::make_shared<GroupNorm>(o.groups_out, width, o.eps));
    conv_out =
        register_module("conv_out", std::make_shared<Conv2d>(width, o.out, o.kernel_out, 1, (o.kernel_out - 1) / 2));
  }

  Tensor forward(const Tensor& sample, const Tensor& times, const Conditioning& condition) const {
    const auto dtype = computing_type(conv_in->weight, sample);
    const Tensor x = options.center ? 2 * sample.to(dtype) - 1 : sample.to(dtype);
    const Given given = conditions(x, times, condition);
    Tensor picture = x, h = conv_in->forward(x);
    std::vector<Tensor> skips = {h};
    for (const auto& block : down_blocks->items) {
      h = block->forward(h, given, skips, picture);
    }
    if (mid_block != nullptr) {
      h = mid_block->forward(h, given);
    }
    picture = Tensor();
    for (const auto& block : up_blocks->items) {
      const size_t own = block->resnets->size();
      const auto size =
          skips.size() > own ? skips[skips.size() - own - 1].sizes().slice(2).vec() : std::vector<int64_t>();
      h = block->forward(h, given, skips, size, picture);
    }
    h = conv_out->forward(activation(options.act_out, conv_norm_out->forward(h)));
    h = picture.defined() ? h + picture : h;
    if (options.time == UNetOptions::Time::fourier && options.log_time) {
      h = h / times.to(h.device(), h.scalar_type()).view({-1, 1, 1, 1});
    }
    const int64_t wanted = spec.shape[0] * spec.outputs;
    return h.size(1) > wanted ? h.narrow(1, 0, wanted) : h;  // the first half, where the rest is a variance
  }

  /// Names of what it is given beside sample and time.
  std::vector<std::string> inputs() const {
    std::vector<std::string> out;
    const auto add = [&](std::string_view name) {
      if (spec.has(name)) {
        out.emplace_back(name);
      }
    };
    if (options.classes != Class::none) {
      add(class_input());
    }
    if (options.text_width > 0) {
      add(unet_inputs::prompt);
      add(unet_inputs::mask);
    }
    if (options.addition == Addition::text_time) {
      add(unet_inputs::pooled);
      add(unet_inputs::ids);
    }
    if (options.embedding.condition > 0) {
      add(retort::inputs::guidance);
    }
    return out;
  }

  std::string_view class_input() const {
    return spec.has(unet_inputs::class_numbers) ? unet_inputs::class_numbers : retort::inputs::labels;
  }

  UNetOptions options;
  ModelSpec spec;

 private:
  int64_t width_of_first() const { return options.down[0].in; }

  void add_embeddings() {
    const UNetOptions& o = options;
    const int64_t width = o.time_width;
    if (o.text_projected > 0) {
      encoder_hid_proj = register_module("encoder_hid_proj", std::make_shared<Linear>(o.text_width, o.text_projected));
    }
    if (o.classes == Class::rows) {
      class_rows = register_module("class_embedding", std::make_shared<Embedding>(o.class_rows, width));
    } else if (o.classes == Class::timestep || o.classes == Class::projection) {
      const TimestepEmbedding::Options act{o.class_act, "none", 0};
      const int64_t in = o.classes == Class::timestep ? o.time_in : o.class_in;
      class_layers = register_module("class_embedding", std::make_shared<TimestepEmbedding>(in, width, act));
    } else if (o.classes == Class::simple_projection) {
      class_linear = register_module("class_embedding", std::make_shared<Linear>(o.class_in, width));
    }
    if (o.addition == Addition::text_time) {
      add_time = register_module("add_embedding", std::make_shared<TimestepEmbedding>(o.addition_in, width));
    } else if (o.addition == Addition::text) {
      add_text =
          register_module("add_embedding", std::make_shared<TextTimeEmbedding>(o.text_width, width, o.addition_heads));
    }
  }

  // The rows of an input; where it is not given, its null values.
  Tensor rows_of(std::string_view name, const Conditioning& condition, const Tensor& x, at::ScalarType dtype) const {
    if (const Tensor given = condition[name]; given.defined()) {
      return given.to(x.device(), dtype);
    }
    const Input& input = *spec.find(name);
    std::vector<int64_t> shape = input.shape;
    shape.insert(shape.begin(), x.size(0));
    return at::full(shape, input.classes > 0 ? static_cast<double>(input.classes) : input.null,
                    x.options().dtype(dtype));
  }

  Given conditions(const Tensor& x, const Tensor& times, const Conditioning& condition) const {
    Given out;
    if (options.text_width > 0) {
      out.text = rows_of(unet_inputs::prompt, condition, x, x.scalar_type());
      if (spec.has(unet_inputs::mask) && (condition.has(unet_inputs::mask) || !condition.has(unet_inputs::prompt))) {
        out.mask = rows_of(unet_inputs::mask, condition, x, at::kBool);
      }
    }
    const Tensor waves = time_proj->forward(times.to(x.device())).to(x.scalar_type());
    Tensor e = time_embedding->forward(waves, waves_of_guidance(condition, x));
    if (options.classes != Class::none && spec.has(class_input())) {
      const Tensor of_class = class_embedding(condition, x);
      e = options.class_concat ? at::cat({e, of_class}, 1) : e + of_class;
    }
    if (add_time != nullptr) {
      e = e + add_time->forward(added_numbers(condition, x));
    } else if (add_text != nullptr) {
      e = e + add_text->forward(out.text);
    }
    out.time = options.embedding_act == "none" ? e : activation(options.embedding_act, e);
    if (encoder_hid_proj != nullptr) {
      out.text = encoder_hid_proj->forward(out.text);
    }
    return out;
  }

  // Weights are given as log(1 + w); diffusers' pipelines embed guidance_scale - 1, and w is guidance_scale.
  Tensor waves_of_guidance(const Conditioning& condition, const Tensor& x) const {
    const Tensor given = condition[retort::inputs::guidance];
    if (options.embedding.condition == 0 || !given.defined()) {
      return {};
    }
    const Tensor above_one = given.to(x.device(), at::kDouble).expm1() - 1;
    return guidance_waves(above_one, options.embedding.condition).to(x.scalar_type());
  }

  Tensor class_embedding(const Conditioning& condition, const Tensor& x) const {
    switch (options.classes) {
      case Class::rows:
        return class_rows->forward_or_zero(rows_of(retort::inputs::labels, condition, x, at::kLong));
      case Class::timestep:
        return class_layers->forward(
            time_proj->forward(rows_of(class_input(), condition, x, at::kFloat)).to(x.scalar_type()));
      case Class::projection:
        return class_layers->forward(rows_of(class_input(), condition, x, x.scalar_type()));
      case Class::simple_projection:
        return class_linear->forward(rows_of(class_input(), condition, x, x.scalar_type()));
      default:
        return rows_of(class_input(), condition, x, x.scalar_type());
    }
  }

  // SDXL's: the pooled text, and the waves of each number about the picture. [B, addition_in]
  Tensor added_numbers(const Conditioning& condition, const Tensor& x) const {
    const Tensor ids = rows_of(unet_inputs::ids, condition, x, at::kFloat);
    const Tensor waves = time_waves(ids.flatten(), options.id_width, options.cosines_first, options.freq_shift);
    return at::cat(
        {rows_of(unet_inputs::pooled, condition, x, x.scalar_type()), waves.view({x.size(0), -1}).to(x.scalar_type())},
        1);
  }

  std::shared_ptr<Conv2d> conv_in, conv_out;
  std::shared_ptr<GroupNorm> conv_norm_out;
  std::shared_ptr<TimeProjection> time_proj;
  std::shared_ptr<TimestepEmbedding> time_embedding, class_layers, add_time;
  std::shared_ptr<Embedding> class_rows;
  std::shared_ptr<Linear> class_linear, encoder_hid_proj;
  std::shared_ptr<TextTimeEmbedding> add_text;
  std::shared_ptr<List<DownBlock>> down_blocks;
  std::shared_ptr<MidBlock> mid_block;
  std::shared_ptr<List<UpBlock>> up_blocks;
};

}  // namespace retort::diffusers
