/// Pictures as an encoder of another library was trained with them: bytes, size, channels, mean and deviation.
#pragma once

#include <retort/params.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace retort {

/// The filters of Pillow, whose support grows with the factor by which a picture is made smaller. LibTorch has the
/// same, with weights in float32: it is 1e-5 away at a size of 224, these are 6e-7.
namespace pillow {

inline double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }
/// Keys' cubic with a = -0.5.
inline double cubic(double x) {
  const double a = -0.5, d = std::abs(x);
  return d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

/// [out, in] float64: what each place of the result takes of those of a line.
inline Tensor weights(int64_t in, int64_t out, bool bicubic) {
  const double scale = static_cast<double>(in) / static_cast<double>(out), wide = std::max(scale, 1.0);
  const double support = (bicubic ? 2 : 1) * wide;
  Tensor made = at::zeros({out, in}, at::kDouble);
  auto* rows = made.mutable_data_ptr<double>();
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const auto end = std::min(in, static_cast<int64_t>(centre + support + 0.5));
    double sum = 0;
    for (int64_t j = first; j < end; ++j) {
      const double at = (static_cast<double>(j) - centre + 0.5) / wide;
      sum += rows[i * in + j] = bicubic ? cubic(at) : triangle(at);
    }
    for (int64_t j = first; j < end; ++j) {
      rows[i * in + j] /= sum;
    }
  }
  return made;
}

/// [out] int64: which place of a line each place of the result is, by `nearest`.
inline Tensor nearest(int64_t in, int64_t out) {
  return ((at::arange(out, at::kDouble) + 0.5) * (static_cast<double>(in) / static_cast<double>(out)))
      .floor()
      .to(at::kLong);
}

}  // namespace pillow

class PicturePreparation {
 public:
  explicit PicturePreparation(Params& p)
      : size_(p.get("size", 0, "height and width that pictures are stretched to; 0: as they come", at_least(0))),
        filter_(p.choice("interpolation", "bicubic", {"bilinear", "bicubic", "nearest"}, "size: by which filter")),
        antialias_(p.get("antialias", true,
                         "size: the filter grows as pictures shrink, as Pillow's and clean-fid's do; false: as torch's "
                         "interpolate, with which pytorch-fid resizes")),
        quantise_(p.get("quantise", true,
                        "values are cut to [-1, 1] and rounded to 8 bits first, as those of files are; gradients pass "
                        "as if they were not")),
        channels_(p.get("channels", 3, "that the encoder takes: grey is repeated; 0: as they come", at_least(0))),
        mean_(
            p.get("mean", std::vector<double>{}, "of each channel, or of all, taken from values in [0, 1]; empty: 0")),
        std_(p.get("std", std::vector<double>{}, "of each channel, or of all, divided by; empty: 1", more_than(0))) {
    for (const auto& [key, list] : {std::pair("mean", &mean_), std::pair("std", &std_)}) {
      if (list->size() > 1 && channels_ > 0 && list->size() != static_cast<size_t>(channels_)) {
        throw p.error(key, "has " + std::to_string(list->size()) + " numbers; expected one, or one for each of the " +
                               std::to_string(channels_) + " channels");
      }
    }
  }

  /// x: [B, C, H, W] about [-1, 1], of real numbers. Returns [B, channels, size, size] in the same type.
  Tensor operator()(const Tensor& x) const {
    if (x.dim() != 4) {
      throw RequestError("takes pictures [C, H, W], and is given " + spelled(x) + " for a sample");
    }
    const int64_t wanted = channels_ > 0 ? channels_ : x.size(1);
    if (x.size(1) != wanted && x.size(1) != 1) {
      throw RequestError("takes " + std::to_string(wanted) + " channels, and is given " + spelled(x) +
                         " for a sample; `channels` says how many it takes");
    }
    Tensor y = (x + 1) / 2;
    if (quantise_) {
      const Tensor bytes = (y.detach() * 255).round().clamp(0, 255) / 255;
      y = y.requires_grad() ? y + (bytes - y.detach()) : bytes;
    }
    if (size_ > 0 && (y.size(2) != size_ || y.size(3) != size_)) {
      y = resized(y).clamp(0, 1);  // what overshoots is cut, as clean-fid does
    }
    y = y.expand({-1, wanted, -1, -1}).contiguous();
    return mean_.empty() && std_.empty() ? y : (y - each(mean_, y, 0)) / each(std_, y, 1);
  }

 private:
  static std::string spelled(const Tensor& x) {
    std::string out;
    for (int64_t i = 1; i < x.dim(); ++i) {
      out += (out.empty() ? "[" : ", ") + std::to_string(x.size(i));
    }
    return out + "]";
  }

  // A number for each channel, shaped for [B, C, H, W].
  static Tensor each(const std::vector<double>& numbers, const Tensor& y, double otherwise) {
    const std::vector<double> all = numbers.empty() ? std::vector<double>{otherwise} : numbers;
    if (all.size() > 1 && static_cast<int64_t>(all.size()) != y.size(1)) {
      throw RequestError("has " + std::to_string(all.size()) + " numbers in `mean` or `std`, and pictures of " +
                         std::to_string(y.size(1)) + " channel(s)");
    }
    return at::tensor(all, at::kDouble).to(y.options()).view({1, -1, 1, 1});
  }

  Tensor resized(const Tensor& y) const {
    if (filter_ == "nearest") {
      const auto places = [&](int64_t in) { return pillow::nearest(in, size_).to(y.device()); };
      return y.index_select(2, places(y.size(2))).index_select(3, places(y.size(3)));
    }
    const bool bicubic = filter_ == "bicubic";
    if (!antialias_) {
      return bicubic ? at::upsample_bicubic2d(y, {size_, size_}, /*align_corners=*/false)
                     : at::upsample_bilinear2d(y, {size_, size_}, /*align_corners=*/false);
    }
    const auto along = [&](int64_t in) { return pillow::weights(in, size_, bicubic).to(y.options()); };
    const Tensor wide = y.size(3) == size_ ? y : at::matmul(y, along(y.size(3)).t());
    return wide.size(2) == size_ ? wide : at::matmul(along(wide.size(2)), wide);
  }

  int64_t size_;
  std::string filter_;
  bool antialias_, quantise_;
  int64_t channels_;
  std::vector<double> mean_, std_;
};

}  // namespace retort
