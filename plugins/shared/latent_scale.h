/// How an autoencoder's latents are shifted and scaled for diffusion models, and what its keys amount to in sizes.
#pragma once

#include <retort/params.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>

#include <string>
#include <vector>

namespace retort {

/// z_model = (z - shift) * factor, or, with a mean and a deviation of each channel, (z - mean) / deviation * factor.
struct LatentScale {
  double factor = 1, shift = 0;
  std::vector<double> mean, deviation;

  /// The keys of config.json; null is 0 there, or an empty list. `of_channels`: whether the model knows the lists.
  LatentScale(Params& p, double default_factor, int64_t channels, bool of_channels)
      : factor(p.get("scaling_factor", default_factor, "by what latents are multiplied for a diffusion model",
                     more_than(0))),
        shift(p.get("shift_factor", 0.0, "what is taken from latents before that; null in config.json is 0")) {
    if (!of_channels) {
      return;
    }
    mean = p.get("latents_mean", std::vector<double>{},
                 "what is taken from each channel in place of shift_factor; empty (null): nothing");
    deviation = p.get("latents_std", std::vector<double>{},
                      "by what each channel is divided then; empty (null): nothing", more_than(0));
    const auto check = [&](const char* key, const std::vector<double>& list, const std::vector<double>& other) {
      if (list.size() != other.size() || (!list.empty() && list.size() != static_cast<size_t>(channels))) {
        throw p.error(key, "has " + std::to_string(list.size()) +
                               " numbers; expected latents_mean and latents_std with one for each of the " +
                               std::to_string(channels) + " latent_channels, or neither");
      }
    };
    check("latents_mean", mean, deviation);
    check("latents_std", deviation, mean);
    check_shift(p);
  }

  void check_shift(const Params& p) const {
    if (shift != 0 && !mean.empty()) {
      throw p.error("shift_factor", "stands beside latents_mean; expected one of them");
    }
  }

  /// Latents as a diffusion model sees them, of the network's, and back. z: [B, c, h, w]
  Tensor to_model(const Tensor& z) const {
    return mean.empty() ? (z - shift) * factor : (z - row(mean, z)) / row(deviation, z) * factor;
  }
  Tensor to_network(const Tensor& z) const {
    return mean.empty() ? z / factor + shift : z / factor * row(deviation, z) + row(mean, z);
  }

 private:
  static Tensor row(const std::vector<double>& list, const Tensor& like) {
    return at::tensor(list, at::kDouble).to(like.options()).view({1, -1, 1, 1});
  }
};

/// What an autoencoder's network takes and gives.
struct CodedSizes {
  int64_t in = 3, out = 3, latents = 4;  // channels
  int64_t down = 1, up = 1;              // by what it divides height and width, and multiplies them again
};

/// factor to the power of `times`, which errors call levels of `key`.
inline int64_t power_of_levels(const Params& p, const char* key, int64_t factor, size_t times) {
  constexpr int64_t most = int64_t{1} << 24;
  int64_t out = 1;
  for (size_t i = 0; i < times; ++i) {
    out *= factor;
    if (out > most) {
      throw p.error(key, "has " + std::to_string(times + 1) + " levels, which no picture is large enough for");
    }
  }
  return out;
}

}  // namespace retort
