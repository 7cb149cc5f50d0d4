/// Keys of config.json that diffusers' two U-Nets share, and how they become layers.
#pragma once

#include <retort/host.h>
#include <retort/network.h>
#include <retort/params.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "diffusers_unet.h"

namespace retort::diffusers {

/// A key's number where it is one number, not a list.
inline std::optional<int64_t> single(Params& p, const char* name, const char* doc, int64_t least = 1) {
  std::optional<int64_t> out;
  if (!p.given(name)) {
    return out;
  }
  try {
    out = p.get(name, 0, doc);
  } catch (const RequestError&) {
    return out;  // something else: read as a list, whose error says so
  }
  if (*out < least) {
    throw p.error(name, std::to_string(*out) + " is out of range; expected >= " + std::to_string(least));
  }
  return out;
}

/// Numbers that a key gives as a list or, the same for all, as one: a number for each of `count`.
inline std::vector<int64_t> one_or_more(Params& p, const char* name, int64_t fallback, size_t count, const char* doc,
                                        int64_t least = 1) {
  std::vector<int64_t> out;
  if (const auto one = single(p, name, doc, least)) {
    out = {*one};
  } else {
    out = p.get(name, std::vector<int64_t>{fallback}, doc, at_least(static_cast<double>(least)));
  }
  if (out.size() == 1) {
    out.resize(count, out[0]);
  }
  if (out.size() != count) {
    throw p.error(name, "has " + std::to_string(out.size()) + " numbers; expected one, or one for each of the " +
                            std::to_string(count) + " blocks");
  }
  return out;
}

/// What both networks read of the sizes of their levels.
struct LevelKeys {
  std::vector<std::string> down, up;
  std::vector<int64_t> widths;
  std::string mid;

  LevelKeys(Params& p, std::vector<std::string> down_types, const char* mid_type, std::vector<std::string> up_types,
            std::vector<int64_t> default_widths)
      : down(p.get("down_block_types", std::move(down_types), "blocks on the way down, the finest first")),
        up(p.get("up_block_types", std::move(up_types), "blocks on the way up, the coarsest first")),
        widths(p.get("block_out_channels", std::move(default_widths), "channels of each block", at_least(1))),
        mid(p.get("mid_block_type", mid_type, "what stands between; \"none\" (null in config.json): nothing")) {
    if (widths.empty() || down.size() != widths.size() || up.size() != widths.size()) {
      throw p.error("block_out_channels", "has " + std::to_string(widths.size()) + " numbers, down_block_types " +
                                              std::to_string(down.size()) + " words, up_block_types " +
                                              std::to_string(up.size()) + "; expected one of each for every level");
    }
  }
};

/// The kinds of blocks that words name. Throws where one is not among `known`.
inline std::vector<BlockKind> block_kinds(const Params& p, const char* key, const std::vector<std::string>& words,
                                          const std::set<BlockKind>& known) {
  const bool up = key == std::string("up_block_types");
  std::vector<BlockKind> out;
  for (const std::string& word : words) {
    const std::string name = word.starts_with("UNetRes") ? word.substr(7) : word;  // as old files call them
    std::string list;
    bool found = false;
    for (const BlockName& block : block_names) {
      if (!known.contains(block.kind)) {
        continue;
      }
      list += std::string(list.empty() ? "" : ", ") + (up ? block.up : block.down);
      if (name == (up ? block.up : block.down)) {
        out.push_back(block.kind);
        found = true;
      }
    }
    if (!found) {
      throw p.error(key, "'" + word + "' is not supported; expected " + list);
    }
  }
  return out;
}

/// An activation; "none" where it may be missing.
inline std::string activation_key(Params& p, const char* name, const char* fallback, const char* doc, bool may_miss) {
  std::vector<std::string> words = activations;
  if (may_miss) {
    words.insert(words.begin(), "none");
  }
  return p.choice(name, fallback, words, doc);
}

/// The keys of the same name and meaning in both networks.
struct CommonKeys {
  int64_t in, out, downsample_padding, groups, time_width, class_rows;
  bool center, flip, scale_shift;
  double freq_shift, mid_scale, dropout, eps;
  std::string act;

  CommonKeys(Params& p, int64_t channels)
      : in(p.get("in_channels", channels, "channels of a sample", at_least(1))),
        out(p.get("out_channels", channels,
                  "channels of the output; where these are twice the sample's, the first half counts", at_least(1))),
        downsample_padding(p.get("downsample_padding", 1,
                                 "zeros around what a downsampling convolution reads; 0: on two sides alone",
                                 between(0, 1))),
        groups(p.get("norm_num_groups", 32, "groups of each GroupNorm", at_least(0))),
        time_width(p.get("time_embedding_dim", 0, "numbers of the time embedding; 0 (null): as diffusers chooses them",
                         at_least(0))),
        class_rows(p.get("num_class_embeds", 0,
                         "rows of the class embedding; 0 (null): one for each class and one for \"none\", where the "
                         "model is given labels",
                         at_least(0))),
        center(p.get("center_input_sample", false, "give the network 2 x - 1 in place of x")),
        flip(p.get("flip_sin_to_cos", true, "cosines in front of sines in the time embedding")),
        scale_shift(p.choice("resnet_time_scale_shift", "default", {"default", "scale_shift"},
                             "how the embedding enters a residual block: added, or as scale and shift") ==
                    "scale_shift"),
        freq_shift(
            p.get("freq_shift", 0.0, "1: the last frequency of the time embedding is 1 / 10000; 0: a little more")),
        mid_scale(p.get("mid_block_scale_factor", 1.0, "what the middle's sums are divided by", more_than(0))),
        dropout(
            p.get("dropout", 0.0, "share of features dropped in training", {.low = 0, .high = 1, .high_open = true})),
        eps(p.get("norm_eps", 1e-5, "epsilon of each GroupNorm", more_than(0))),
        act(activation_key(p, "act_fn", "silu", "activation of the residual blocks", false)) {}

  ResnetOptions resnet(int64_t time) const {
    ResnetOptions out;
    out.time = time;
    out.eps = eps;
    out.act = act;
    out.scale_shift = scale_shift;
    out.dropout = dropout;
    return out;
  }

  /// Options that follow from these keys alone. T is the time embedding's width.
  UNetOptions options(int64_t time_in, int64_t time_embedding) const {
    UNetOptions o;
    o.in = in, o.out = out;
    o.center = center;
    o.time_in = time_in, o.time_width = time_embedding;
    o.cosines_first = flip;
    o.freq_shift = freq_shift;
    o.eps = eps;
    o.groups_out = groups;
    return o;
  }
};

/// Down and up levels with their channels; all else as in `common`.
inline void add_levels(UNetOptions& o, const LevelOptions& common, const std::vector<int64_t>& widths,
                       const std::vector<BlockKind>& down, const std::vector<BlockKind>& up,
                       const std::vector<int64_t>& layers) {
  const size_t n = widths.size();
  for (size_t i = 0; i < n; ++i) {
    LevelOptions level = common;
    level.kind = down[i];
    level.layers = layers[i];
    level.in = widths[i == 0 ? 0 : i - 1];
    level.out = widths[i];
    level.last = i == n - 1;
    o.down.push_back(level);
  }
  for (size_t i = 0; i < n; ++i) {
    const size_t from = n - 1 - i;  // the level
    LevelOptions level = common;
    level.kind = up[i];
    level.layers = layers[from] + 1;
    level.in = widths[std::min(from + 1, n - 1)];
    level.out = widths[from];
    level.below = widths[from == 0 ? 0 : from - 1];
    level.last = i == n - 1;
    o.up.push_back(level);
  }
  o.mid = common;
  o.mid.in = o.mid.out = widths.back();
}

/// Holds the network's channels and rows against what it is built for; chooses the rows that are left open.
inline void fit(const Params& p, const std::string& name, const ModelSpec& spec, UNetOptions& o) {
  if (spec.shape.size() != 3) {
    throw p.error("type", "'" + name + "' is for pictures [channels, height, width]; this data set has samples of " +
                              std::to_string(spec.shape.size()) + " dimension(s); 'mlp' is for points");
  }
  const int64_t channels = spec.shape[0], wanted = channels * spec.outputs;
  if (o.in != channels) {
    throw p.error("in_channels", std::to_string(o.in) + " is not supported for samples of " + std::to_string(channels) +
                                     " channels; expected " + std::to_string(channels));
  }
  if (o.out != wanted && o.out != 2 * wanted) {
    throw p.error("out_channels", std::to_string(o.out) + " is not supported for samples of " +
                                      std::to_string(channels) + " channels; expected " + std::to_string(wanted) +
                                      ", or " + std::to_string(2 * wanted) + " with a learned variance");
  }
  const int64_t classes = spec.classes();
  if (o.classes == UNetOptions::Class::none && (o.class_rows > 0 || classes > 0)) {
    o.classes = UNetOptions::Class::rows;
    o.class_rows = o.class_rows > 0 ? o.class_rows : classes + 1;
  }
  if (o.classes == UNetOptions::Class::rows && o.class_rows < classes) {
    throw p.error("num_class_embeds", std::to_string(o.class_rows) + " is less than the " + std::to_string(classes) +
                                          " classes of the labels; expected these, or one more for \"none\"");
  }
}

/// The network; a layer that cannot be is an error about the key that forbids it.
inline std::shared_ptr<UNetBody> make_unet(const Params& p, UNetOptions options, const ModelSpec& spec) {
  try {
    return std::make_shared<UNetBody>(std::move(options), spec);
  } catch (const Misfit& e) {
    throw p.error(e.key, e.what());
  }
}

}  // namespace retort::diffusers
