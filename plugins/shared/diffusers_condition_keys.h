/// Keys of config.json that only diffusers' `UNet2DConditionModel` has.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "diffusers_keys.h"

namespace retort::diffusers {

/// Of each block, one number for all its transformers or one for each.
using Depths = std::vector<std::vector<int64_t>>;

/// transformer_layers_per_block: a number, one for each block, or a list for each.
inline Depths depths_key(Params& p, const char* name, size_t count, bool may_miss, const char* doc) {
  std::vector<std::vector<double>> given;
  if (const auto one = single(p, name, doc)) {
    given.push_back({static_cast<double>(*one)});
  } else {
    given = p.get(name, may_miss ? decltype(given){} : decltype(given){{1}}, doc);
  }
  if (given.size() == 1 && given[0].size() == 1) {
    given.resize(count, given[0]);
  }
  if (given.size() != count && !(may_miss && given.empty())) {
    throw p.error(name, "has " + std::to_string(given.size()) + " entries; expected one, or one for each of the " +
                            std::to_string(count) + " blocks");
  }
  Depths out;
  for (const auto& row : given) {
    const auto is_count = [](double n) { return n >= 1 && n <= 1e6 && n == std::floor(n); };
    if (row.empty() || !std::all_of(row.begin(), row.end(), is_count)) {
      throw p.error(name, "has an entry that is no number of layers; expected whole numbers from 1 on");
    }
    out.emplace_back(row.begin(), row.end());
  }
  return out;
}

struct ConditionKeys {
  explicit ConditionKeys(Params& p)
      : levels(p, {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"},
               "UNetMidBlock2DCrossAttn",
               {"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"}, {320, 640, 1280, 1280}),
        common(p, 4),
        layers(one_or_more(p, "layers_per_block", 2, levels.widths.size(),
                           "residual blocks of each block on the way down; one more on the way up")),
        heads(one_or_more(p, "attention_head_dim", 8, levels.widths.size(),
                          "heads of each transformer; of Attn and SimpleCrossAttn blocks, channels of a head")),
        contexts(one_or_more(p, "cross_attention_dim", 1280, levels.widths.size(),
                             "numbers of a token; 0 (null): no text", 0)),
        depths(depths_key(p, "transformer_layers_per_block", levels.widths.size(), false,
                          "layers of each transformer: a number, one for each block, or a list for each block")),
        up_depths(depths_key(p, "reverse_transformer_layers_per_block", levels.widths.size(), true,
                             "the same for the way up, the coarsest block first; empty: as on the way down")),
        condition(p.get("time_cond_proj_dim", 0,
                        "numbers of the embedding of guidance weights; 0 (null): 256 where the model is given these",
                        at_least(0))),
        kernel_in(p.get("conv_in_kernel", 3, "side of the first convolution; odd", at_least(1))),
        kernel_out(p.get("conv_out_kernel", 3, "side of the last convolution; odd", at_least(1))),
        class_in(p.get("projection_class_embeddings_input_dim", 0,
                       "numbers that class_embed_type = \"projection\" and addition_embed_type = \"text_time\" take in",
                       at_least(0))),
        id_width(p.get("addition_time_embed_dim", 0, "cosines and sines of each of the time_ids", at_least(0))),
        addition_heads(
            p.get("addition_embed_type_num_heads", 64, "heads of addition_embed_type = \"text\"", at_least(1))),
        projected(p.get("encoder_hid_dim", 0,
                        "numbers of a token in front of a layer that makes it one of "
                        "cross_attention_dim; 0 (null): no layer",
                        at_least(0))),
        linear(p.get("use_linear_projection", false,
                     "whether the layers around transformers are kept as linear ones, not as convolutions")),
        only_cross(p.get("only_cross_attention", false, "attention to the tokens in place of that to the picture")),
        mid_only_cross(p.get("mid_block_only_cross_attention", only_cross,
                             "the same of a middle of SimpleCrossAttn; null: only_cross_attention")),
        upcast(p.get("upcast_attention", false, "attention in float32 where the weights have less")),
        skip_time_act(p.get("resnet_skip_time_act", false,
                            "no activation of the embedding in Resnet and SimpleCrossAttn blocks")),
        concat(p.get("class_embeddings_concat", false, "the class embedding beside the time's, not added to it")),
        out_scale(p.get("resnet_out_scale_factor", 1.0, "what sums of Resnet and SimpleCrossAttn blocks are divided by",
                        more_than(0))),
        time_type(p.choice("time_embedding_type", "positional", {"positional", "fourier"}, "how times are embedded")),
        time_act(activation_key(p, "time_embedding_act_fn", "none", "activation of the sum of all embeddings", true)),
        post_act(activation_key(p, "timestep_post_act", "none", "activation behind the time embedding", true)),
        class_type(p.choice("class_embed_type", "none",
                            {"none", "timestep", "identity", "projection", "simple_projection"},
                            "none (null): labels choose rows; others: the input class_labels is embedded as a time, is "
                            "the embedding, or becomes it by layers")),
        addition(p.choice("addition_embed_type", "none", {"none", "text", "text_time"},
                          "what else joins the embedding; text_time: pooled_prompt_embeds and time_ids, as in SDXL")),
        cross_norm(p.choice("cross_attention_norm", "none", {"none", "layer_norm", "group_norm"},
                            "norm of the tokens in SimpleCrossAttn blocks")) {
    p.choice("encoder_hid_dim_type", "none", {"none", "text_proj"},
             "what encoder_hid_dim is for; others: not supported");
    p.choice("attention_type", "default", {"default"}, "kind of transformers; gated ones are not supported");
    if (p.get("dual_cross_attention", false, "not supported")) {
      throw p.error("dual_cross_attention", "true is not supported; expected false");
    }
  }

  LevelKeys levels;
  CommonKeys common;
  std::vector<int64_t> layers, heads, contexts;
  Depths depths, up_depths;
  int64_t condition, kernel_in, kernel_out, class_in, id_width, addition_heads, projected;
  bool linear, only_cross, mid_only_cross, upcast, skip_time_act, concat;
  double out_scale;
  std::string time_type, time_act, post_act, class_type, addition, cross_norm;
};

/// One transformer's layers each, for all of a block.
inline std::vector<int64_t> spread(const Params& p, const char* key, const std::vector<int64_t>& given,
                                   int64_t blocks) {
  std::vector<int64_t> out = given;
  if (out.size() == 1) {
    out.resize(static_cast<size_t>(blocks), out[0]);
  }
  if (static_cast<int64_t>(out.size()) < blocks) {
    throw p.error(key, "has " + std::to_string(out.size()) + " numbers for a block of " + std::to_string(blocks) +
                           " transformers; expected one for each");
  }
  return out;
}

}  // namespace retort::diffusers
