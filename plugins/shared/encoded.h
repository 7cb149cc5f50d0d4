/// What metrics see of pictures: the configured features, or those of an encoder of their own.
#pragma once

#include <retort/host.h>
#include <retort/metric.h>

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

namespace retort {

class Encoded {
 public:
  explicit Encoded(Params& p) {
    const bool own = p.given("encoder");
    if (p.is_describing() || own) {
      encoder_ = p.plugin<Network>("encoder", "picture_encoder",
                                   "the encoder of pictures, such as { file = \"clip.pt\", size = 224 }; without it, "
                                   "evaluate.features");
    }
    const std::string checkpoint =
        p.path("encoder_checkpoint", "",
               "in place of `encoder`: safetensors file of a network of Retort's, whose features are taken");
    batch_ = p.get("batch", 100, "encoder: pictures at a time", at_least(1));
    if (!checkpoint.empty()) {
      if (own) {
        throw p.error("encoder_checkpoint", "is given beside encoder; expected one of them");
      }
      encoder_ = p.host().network(p.host().checkpoint(checkpoint), checkpoint);
    }
    if (encoder_ != nullptr) {
      p.host().backend().place(*encoder_);
      encoder_->module()->eval();
    }
  }

  /// [n, F] float64
  Tensor samples(const Evaluation& evaluation) const {
    return rows(encoder_ == nullptr ? evaluation.sample_features() : encode(evaluation.samples()));
  }
  Tensor reference(const Evaluation& evaluation) const {
    return rows(encoder_ == nullptr ? evaluation.reference_features() : encode(evaluation.reference()));
  }
  /// The same of data as the data set has them; undefined where these are latents and the encoder is of pictures.
  Tensor of(const Evaluation& evaluation, const Tensor& x) const {
    if (encoder_ == nullptr) {
      return rows(evaluation.features(x));
    }
    return x.sizes().slice(1) == evaluation.samples().sizes().slice(1) ? rows(encode(x)) : Tensor();
  }

 private:
  static Tensor rows(const Tensor& features) {
    if (features.dim() != 2) {
      throw RequestError("encoder: gives no rows of features; expected [B, F], or `pool`");
    }
    return features.to(at::kDouble);
  }

  Tensor encode(const Tensor& x) const {
    const at::NoGradGuard no_grad;
    std::vector<Tensor> out;
    for (const Tensor& part : x.split(batch_)) {
      out.push_back(encoder_->features(part));
    }
    return at::cat(out);
  }

  std::shared_ptr<Network> encoder_;
  int64_t batch_ = 1;
};

/// Rows brought to length 1; a row of zeros has no direction, and stays.
inline Tensor of_length_one(const Tensor& rows) { return rows / rows.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-300); }

}  // namespace retort
