/// diffusers' `UNet2DModel`: the U-Nets of DDPM, of consistency models and of NCSN++, with the same weights and keys.
///
/// The keys are those of its `config.json`, and so are their defaults, which make a large network; a key that is null
/// there is 0 here, or "none". The names of the weights are diffusers' too, so that a network trained here can be read
/// there, and the other way round. It wants pictures whose height and width every level but the last can halve, and
/// the noise level as diffusers' time steps: `parametrisation.preconditioning = "discrete"`. Labels choose a row of the
/// class embedding; a label without a row adds nothing. Source: diffusers 0.42.1, `models/unets/unet_2d.py`; Ho et al.
/// 2020; Song et al. 2021 (arXiv 2011.13456); Song et al. 2023 (arXiv 2303.01469).
///
///     [network]
///     type = "unet_2d"
///     in_channels = 3
///     out_channels = 3
///     block_out_channels = [32, 64]
///     down_block_types = ["DownBlock2D", "AttnDownBlock2D"]
///     up_block_types = ["AttnUpBlock2D", "UpBlock2D"]
///     layers_per_block = 1
///     norm_num_groups = 8
#include <retort/plugin.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "../shared/diffusers_keys.h"

using namespace retort;
using namespace retort::diffusers;

namespace {

const std::set<BlockKind> known = {BlockKind::plain, BlockKind::attn, BlockKind::resnet, BlockKind::skip,
                                   BlockKind::attn_skip};

struct Keys {
  explicit Keys(Params& p)
      : levels(p, {"DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"}, "UNetMidBlock2D",
               {"AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"}, {224, 448, 672, 896}),
        common(p, 3),
        layers(p.get("layers_per_block", 2, "residual blocks of each block on the way down; one more on the way up",
                     at_least(1))),
        head_size(
            p.get("attention_head_dim", 8, "channels of each head of attention; 0 (null): all, one head", at_least(0))),
        mid_groups(p.get("attn_norm_num_groups", 0,
                         "groups of the GroupNorm of the middle's attention; 0 (null): norm_num_groups, or no norm "
                         "with resnet_time_scale_shift = \"scale_shift\"",
                         at_least(0))),
        times(p.get("num_train_timesteps", 0, "rows of a learned time embedding", at_least(0))),
        mid_attends(p.get("add_attention", true, "attention in the middle")),
        resnet_down(p.choice("downsample_type", "conv", {"conv", "resnet"},
                             "what leads down from a block with attention") == "resnet"),
        resnet_up(p.choice("upsample_type", "conv", {"conv", "resnet"}, "what leads up from a block with attention") ==
                  "resnet"),
        time_type(p.choice("time_embedding_type", "positional", {"positional", "fourier", "learned"},
                           "how times are embedded; fourier: their logarithms, and the output is divided by the time")),
        class_type(p.choice("class_embed_type", "none", {"none", "timestep", "identity"},
                            "none (null): labels choose rows; timestep, identity: the input class_labels is embedded "
                            "as a time, or is the embedding")) {}

  LevelKeys levels;
  CommonKeys common;
  int64_t layers, head_size, mid_groups, times;
  bool mid_attends, resnet_down, resnet_up;
  std::string time_type, class_type;
};

// A list is of NCSN++'s blocks throughout, or of none of them: these hand a picture on from level to level.
bool of_skips(const Params& p, const char* key, const std::vector<BlockKind>& kinds) {
  const auto count = std::count_if(kinds.begin(), kinds.end(), skips_pictures);
  if (count != 0 && count != static_cast<int64_t>(kinds.size())) {
    throw p.error(key, "Skip blocks beside others are not supported; expected Skip and AttnSkip blocks alone, or none");
  }
  return count != 0;
}

UNetOptions options_of(const Params& p, const Keys& k) {
  using Time = UNetOptions::Time;
  const auto down = block_kinds(p, "down_block_types", k.levels.down, known);
  const auto up = block_kinds(p, "up_block_types", k.levels.up, known);
  const bool skips_down = of_skips(p, "down_block_types", down), skips_up = of_skips(p, "up_block_types", up);
  const int64_t first = k.levels.widths[0], time = k.common.time_width > 0 ? k.common.time_width : 4 * first;
  UNetOptions o = k.common.options(k.time_type == "fourier" ? 2 * first : first, time);
  o.time = k.time_type == "fourier" ? Time::fourier : k.time_type == "learned" ? Time::learned : Time::positional;
  o.log_time = true;
  o.times = k.times;
  o.class_rows = k.class_type == "none" ? k.common.class_rows : 0;
  o.class_in = time;
  o.classes = k.class_type == "timestep"   ? UNetOptions::Class::timestep
              : k.class_type == "identity" ? UNetOptions::Class::identity
                                           : UNetOptions::Class::none;
  LevelOptions common;
  common.groups = k.common.groups;
  common.resnet = k.common.resnet(time);
  common.padded = k.common.downsample_padding > 0;
  add_levels(o, common, k.levels.widths, down, up, std::vector<int64_t>(k.levels.widths.size(), k.layers));
  const auto finish = [&](LevelOptions& level, bool resnet_between) {
    level.head_size = k.head_size > 0 ? k.head_size : level.out;
    level.resnet_resampling = resnet_between;
    level.resnet.scale = skips_pictures(level.kind) ? std::sqrt(2.0) : 1;
  };
  for (LevelOptions& level : o.down) {
    finish(level, k.resnet_down);
  }
  for (LevelOptions& level : o.up) {
    finish(level, k.resnet_up);
  }
  const int64_t last = k.levels.widths.back();
  o.mid.groups = k.common.groups > 0 ? k.common.groups : quarter(last);
  o.mid.resnet.scale = k.common.mid_scale;
  o.groups_out = k.common.groups > 0 ? k.common.groups : quarter(first);
  o.has_mid = k.levels.mid != "none";
  if (k.common.groups == 0 && !(skips_down && skips_up)) {
    throw p.error("norm_num_groups", "0 (null) is for Skip blocks alone; expected a number that divides all channels");
  }
  if ((skips_down || skips_up) && (o.in != 3 || o.out != 3)) {
    throw p.error("in_channels", "Skip blocks are for pictures of 3 channels; expected in_channels = out_channels = 3");
  }
  if (k.levels.mid != "none" && k.levels.mid != "UNetMidBlock2D") {
    throw p.error("mid_block_type", "'" + k.levels.mid + "' is not supported; expected UNetMidBlock2D or none");
  }
  if (o.time == Time::learned && o.times == 0) {
    throw p.error("num_train_timesteps", "missing; expected the number of time steps for a learned time embedding");
  }
  return o;
}

// The middle's attention. It has no norm where the times scale, unless one is asked for.
std::shared_ptr<Mixer> middle(const Params& p, const Keys& k, const UNetOptions& o) {
  if (!k.mid_attends || !o.has_mid) {
    return nullptr;
  }
  const int64_t width = o.mid.out, groups = k.mid_groups > 0 ? k.mid_groups : k.common.scale_shift ? 0 : o.mid.groups;
  try {
    return std::make_shared<SelfAttention>(
        SelfAttention::Shape{width, k.head_size > 0 ? k.head_size : width, groups, k.common.eps, k.common.mid_scale});
  } catch (const Misfit& e) {
    throw p.error(k.mid_groups > 0 && e.key == "norm_num_groups" ? "attn_norm_num_groups" : e.key, e.what());
  }
}

}  // namespace

class UNet2D final : public Network {
 public:
  explicit UNet2D(Params& p) {
    const Keys keys(p);
    UNetOptions options = options_of(p, keys);
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    fit(p, "unet_2d", spec, options);
    const int64_t halves = int64_t{1} << (keys.levels.widths.size() - 1);
    if (spec.shape[1] % halves != 0 || spec.shape[2] % halves != 0) {
      throw p.error("block_out_channels", std::to_string(keys.levels.widths.size()) +
                                              " levels cannot halve a picture of " + std::to_string(spec.shape[1]) +
                                              " x " + std::to_string(spec.shape[2]) + "; expected sides that " +
                                              std::to_string(halves) + " divides");
    }
    options.mid_mixer = middle(p, keys, options);
    body_ = make_unet(p, std::move(options), spec);
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return body_->forward(x, c_noise, condition);
  }
  std::vector<std::string> inputs() const override { return body_->inputs(); }
  std::shared_ptr<torch::nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<UNetBody> body_;
};

RETORT_PLUGIN(UNet2D, network, unet_2d)
