/// diffusers' `UNet2DConditionModel`: the U-Nets of Stable Diffusion 1 and 2, of SDXL and of their LCM students, with
/// the same weights and keys.
///
/// The keys are those of its `config.json`, and so are their defaults, which make the large network of Stable
/// Diffusion; a key that is null there is 0 here, or "none". A key with a number for each block takes a single number
/// for all. The names of the weights are diffusers' too. What it is given besides sample and time step, the latter by
/// `parametrisation.preconditioning = "discrete"`: `prompt_embeds` [tokens, cross_attention_dim], perhaps with
/// `attention_mask` [tokens]; for SDXL `pooled_prompt_embeds` and `time_ids`; guidance weights, which are diffusers'
/// `guidance_scale`, and whose layer begins at zero; labels. Trap: `attention_head_dim` is the number of heads here, as
/// in diffusers, but for blocks named SimpleCrossAttn and Attn. Source: diffusers 0.42.1,
/// `models/unets/unet_2d_condition.py`; Rombach et al. 2022 (arXiv 2112.10752); Podell et al. 2023 (arXiv 2307.01952);
/// Luo et al. 2023 (arXiv 2310.04378).
///
///     [network]
///     type = "unet_2d_condition"
///     in_channels = 3
///     out_channels = 3
///     block_out_channels = [32, 64]
///     down_block_types = ["DownBlock2D", "CrossAttnDownBlock2D"]
///     up_block_types = ["CrossAttnUpBlock2D", "UpBlock2D"]
///     layers_per_block = 1
///     norm_num_groups = 8
///     attention_head_dim = 4         # heads
///     cross_attention_dim = 16
#include <retort/plugin.h>

#include <algorithm>
#include <set>

#include "../shared/diffusers_condition_keys.h"

using namespace retort;
using namespace retort::diffusers;

namespace {

const std::set<BlockKind> known = {BlockKind::plain, BlockKind::attn, BlockKind::cross, BlockKind::resnet,
                                   BlockKind::simple};

// Level `from` of the keys, in a block of any way.
void finish(const ConditionKeys& k, LevelOptions& level, size_t from) {
  level.transformer.context = k.contexts[from];
  level.transformer.heads = k.heads[from];
  if (level.kind == BlockKind::cross && (k.heads[from] < 1 || k.heads[from] > level.out)) {
    throw Misfit("attention_head_dim", std::to_string(k.heads[from]) + " heads do not fit into a block of " +
                                           std::to_string(level.out) + " channels");
  }
  if (level.kind == BlockKind::resnet || level.kind == BlockKind::simple) {
    level.resnet.skip_time_act = k.skip_time_act;
    level.resnet.scale = k.out_scale;
  }
  if (level.kind == BlockKind::simple && (level.head_size < 1 || level.out % level.head_size != 0)) {
    throw Misfit("attention_head_dim", "heads of " + std::to_string(level.head_size) + " channels do not divide the " +
                                           std::to_string(level.out) + " of a block");
  }
}

void add_all_levels(const Params& p, const ConditionKeys& k, UNetOptions& o, int64_t time) {
  const auto down = block_kinds(p, "down_block_types", k.levels.down, known);
  const auto up = block_kinds(p, "up_block_types", k.levels.up, known);
  const size_t n = k.levels.widths.size();
  LevelOptions common;
  common.groups = k.common.groups;
  common.resnet = k.common.resnet(time);
  common.padded = k.common.downsample_padding > 0;
  common.only_cross = k.only_cross;
  common.cross_norm = k.cross_norm;
  common.transformer.groups = k.common.groups;
  common.transformer.linear = k.linear;
  common.transformer.only_cross = k.only_cross;
  common.transformer.upcast = k.upcast;
  add_levels(o, common, k.levels.widths, down, up, k.layers);
  const bool nested = std::any_of(k.depths.begin(), k.depths.end(), [](const auto& row) { return row.size() > 1; });
  if (nested && k.up_depths.empty()) {
    throw p.error("reverse_transformer_layers_per_block",
                  "missing; expected the layers on the way up where transformer_layers_per_block has lists in it");
  }
  for (size_t i = 0; i < n; ++i) {
    const size_t from = n - 1 - i;
    o.down[i].head_size = k.heads[i];
    o.up[i].head_size = k.heads[i];  // not reversed, in diffusers
    finish(k, o.down[i], i);
    if (o.down[i].kind == BlockKind::cross) {
      o.down[i].depths = spread(p, "transformer_layers_per_block", k.depths[i], o.down[i].layers);
    }
    finish(k, o.up[i], from);
    if (o.up[i].kind == BlockKind::cross) {
      o.up[i].depths = k.up_depths.empty()
                           ? spread(p, "transformer_layers_per_block", k.depths[from], o.up[i].layers)
                           : spread(p, "reverse_transformer_layers_per_block", k.up_depths[i], o.up[i].layers);
    }
  }
}

// The middle, of one of three kinds.
void add_middle(const Params& p, const ConditionKeys& k, UNetOptions& o) {
  o.mid.head_size = k.heads.back();
  o.has_mid = k.levels.mid != "none";
  o.mid_both = k.levels.mid != "UNetMidBlock2D";
  if (k.levels.mid == "UNetMidBlock2DCrossAttn") {
    o.mid.kind = BlockKind::cross;
    o.mid.transformer.only_cross = false;
    o.mid.depths = {k.depths.back()[0]};
  } else if (k.levels.mid == "UNetMidBlock2DSimpleCrossAttn") {
    o.mid.kind = BlockKind::simple;
    o.mid.only_cross = k.mid_only_cross;
  } else if (o.has_mid && o.mid_both) {
    throw p.error("mid_block_type", "'" + k.levels.mid +
                                        "' is not supported; expected UNetMidBlock2DCrossAttn, UNetMidBlock2D, "
                                        "UNetMidBlock2DSimpleCrossAttn or none");
  }
  finish(k, o.mid, k.heads.size() - 1);
  o.mid.resnet.scale = k.common.mid_scale;
}

UNetOptions options_of(const Params& p, const ConditionKeys& k) {
  using Class = UNetOptions::Class;
  const bool fourier = k.time_type == "fourier";
  const int64_t first = k.levels.widths[0];
  const int64_t time = k.common.time_width > 0 ? k.common.time_width : (fourier ? 2 : 4) * first;
  UNetOptions o = k.common.options(fourier ? time : first, time);
  o.time = fourier ? UNetOptions::Time::fourier : UNetOptions::Time::positional;
  o.kernel_in = k.kernel_in, o.kernel_out = k.kernel_out;
  o.embedding = {k.common.act, k.post_act, k.condition};
  o.embedding_act = k.time_act;
  o.act_out = o.class_act = k.common.act;
  o.class_rows = k.class_type == "none" ? k.common.class_rows : 0;
  o.class_concat = k.concat;
  o.class_in = k.class_in;
  o.classes = k.class_type == "timestep"            ? Class::timestep
              : k.class_type == "identity"          ? Class::identity
              : k.class_type == "projection"        ? Class::projection
              : k.class_type == "simple_projection" ? Class::simple_projection
                                                    : Class::none;
  if (o.classes == Class::projection) {
    o.class_act = "silu";
  }
  if (o.classes == Class::identity) {
    o.class_in = time;
  }
  o.addition = k.addition == "text"        ? UNetOptions::Addition::text
               : k.addition == "text_time" ? UNetOptions::Addition::text_time
                                           : UNetOptions::Addition::none;
  o.addition_in = k.class_in, o.id_width = k.id_width, o.addition_heads = k.addition_heads;
  add_all_levels(p, k, o, k.concat ? 2 * time : time);
  add_middle(p, k, o);
  return o;
}

std::string spell(const std::vector<int64_t>& shape) {
  std::string out;
  for (const int64_t n : shape) {
    out += (out.empty() ? "" : ", ") + std::to_string(n);
  }
  return "[" + out + "]";
}

// Tokens: whether the model is given those that the blocks attend to.
void fit_text(const Params& p, const ConditionKeys& k, const ModelSpec& spec, UNetOptions& o) {
  const auto reads = [](const LevelOptions& level) { return reads_text(level.kind); };
  std::set<int64_t> widths;
  for (const auto* levels : {&o.down, &o.up}) {
    for (const LevelOptions& level : *levels) {
      if (reads(level)) {
        widths.insert(level.transformer.context);
      }
    }
  }
  if (o.has_mid && reads(o.mid)) {
    widths.insert(o.mid.transformer.context);
  }
  if (widths.empty() && o.addition != UNetOptions::Addition::text) {
    return;
  }
  const int64_t wanted = widths.empty() ? k.contexts[0] : *widths.begin();
  if (widths.size() > 1) {
    throw p.error("cross_attention_dim", "differs between blocks that attend to the same tokens; expected one number");
  }
  o.text_width = k.projected > 0 ? k.projected : wanted;
  o.text_projected = k.projected > 0 ? wanted : 0;
  const Input* prompt = spec.find(unet_inputs::prompt);
  if (prompt == nullptr) {
    throw p.error("down_block_types",
                  "the blocks attend to prompt_embeds, which the data set or teacher does not give");
  }
  if (prompt->shape.size() != 2 || prompt->shape[1] != o.text_width) {
    throw p.error(k.projected > 0 ? "encoder_hid_dim" : "cross_attention_dim",
                  std::to_string(o.text_width) + " is not supported for prompt_embeds of shape " +
                      spell(prompt->shape) + "; expected [tokens, " + std::to_string(o.text_width) + "]");
  }
  const Input* mask = spec.find(unet_inputs::mask);
  if (mask != nullptr && mask->shape != std::vector<int64_t>{prompt->shape[0]}) {
    throw p.error("type", "attention_mask is of shape " + spell(mask->shape) + ", and there are " +
                              std::to_string(prompt->shape[0]) + " tokens");
  }
  if (o.addition == UNetOptions::Addition::text && o.text_width % o.addition_heads != 0) {
    throw p.error("addition_embed_type_num_heads", std::to_string(o.addition_heads) + " does not divide the " +
                                                       std::to_string(o.text_width) + " numbers of a token");
  }
}

// Class numbers, pooled text, numbers about the picture: of the sizes that the keys say.
void fit_numbers(const Params& p, const ModelSpec& spec, const UNetOptions& o) {
  using Class = UNetOptions::Class;
  const Input* numbers = spec.find(unet_inputs::class_numbers);
  if (o.classes == Class::projection || o.classes == Class::simple_projection || o.classes == Class::identity) {
    if (numbers == nullptr || numbers->shape != std::vector<int64_t>{o.class_in}) {
      throw p.error("class_embed_type", "wants an input class_labels of shape [" + std::to_string(o.class_in) +
                                            "], which the data set or teacher does not give");
    }
  }
  if (o.class_concat && (o.classes == Class::none || o.addition != UNetOptions::Addition::none)) {
    throw p.error("class_embeddings_concat", "true is supported with class labels and without addition_embed_type");
  }
  if (o.addition != UNetOptions::Addition::text_time) {
    return;
  }
  const Input *pooled = spec.find(unet_inputs::pooled), *ids = spec.find(unet_inputs::ids);
  if (pooled == nullptr || ids == nullptr || pooled->shape.size() != 1 || ids->shape.size() != 1) {
    throw p.error(
        "addition_embed_type",
        "text_time wants pooled_prompt_embeds [numbers] and time_ids [ids], which the data set or teacher does "
        "not give");
  }
  const int64_t given = pooled->shape[0] + ids->shape[0] * o.id_width;
  if (o.addition_in != given) {
    throw p.error("projection_class_embeddings_input_dim",
                  std::to_string(o.addition_in) + " is not what pooled_prompt_embeds and time_ids make; expected " +
                      std::to_string(pooled->shape[0]) + " + " + std::to_string(ids->shape[0]) + " x " +
                      std::to_string(o.id_width) + " = " + std::to_string(given));
  }
}

}  // namespace

class UNet2DCondition final : public Network {
 public:
  explicit UNet2DCondition(Params& p) {
    const ConditionKeys keys(p);
    try {
      build(p, keys);
    } catch (const Misfit& e) {
      throw p.error(e.key, e.what());
    }
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return body_->forward(x, c_noise, condition);
  }
  std::vector<std::string> inputs() const override { return body_->inputs(); }
  std::string weights_of(const std::string& input) const override {
    return input == inputs::guidance && body_->options.embedding.condition > 0 ? "time_embedding.cond_proj." : "";
  }
  std::shared_ptr<torch::nn::Module> module() override { return body_; }

 private:
  void build(const Params& p, const ConditionKeys& keys) {
    UNetOptions options = options_of(p, keys);
    if (options.kernel_in % 2 == 0 || options.kernel_out % 2 == 0) {
      throw p.error(options.kernel_in % 2 == 0 ? "conv_in_kernel" : "conv_out_kernel",
                    "an even side is not supported; expected an odd one");
    }
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    fit(p, "unet_2d_condition", spec, options);
    fit_text(p, keys, spec, options);
    fit_numbers(p, spec, options);
    constexpr int64_t lcm_width = 256;
    if (options.embedding.condition == 0 && spec.has(inputs::guidance)) {
      options.embedding.condition = lcm_width;
    }
    if (options.has_mid && options.mid_both) {
      options.mid_mixer = make_mixer(options.mid, 0);
    }
    body_ = make_unet(p, std::move(options), spec);
  }

  std::shared_ptr<UNetBody> body_;
};

RETORT_PLUGIN(UNet2DCondition, network, unet_2d_condition)
