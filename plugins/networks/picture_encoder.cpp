/// Features of pictures by an encoder of another library, from a TorchScript file: Inception, DINOv2, CLIP.
///
/// For `evaluate.features`, for the features of losses, and for metrics with an encoder of their own; it is nothing
/// that is trained. Samples are taken for pictures with values about [-1, 1]. They are cut and rounded to 8 bits, as a
/// file would keep them; stretched to `size` by Pillow's antialiased filter, channel by channel in floating point, and
/// cut to [0, 1], as clean-fid does; grey ones are repeated; and (x - mean) / std is given to forward(x).
/// `sdk/python/export_features.py` writes such files, and says their keys. Source: Parmar et al. 2022 (arXiv
/// 2104.11222), clean-fid, for the preparation.
///
///     [network]                      # as a rule [evaluate.features], which needs no type
///     type = "picture_encoder"
///     file = "dinov2.pt"
///     size = 224
///     interpolation = "bicubic"
///     mean = [0.485, 0.456, 0.406]
///     std = [0.229, 0.224, 0.225]
#include <retort/host.h>
#include <retort/plugin.h>

#include <optional>

#include "../shared/picture_preparation.h"
#include "../shared/script_module.h"

using namespace retort;

class PictureEncoder final : public Network {
 public:
  explicit PictureEncoder(Params& p)
      : keys_{p.path("file", "", "the TorchScript file, whose forward takes pictures alone"),  // in this order
              p.get("output", "", "what counts of a tuple or dictionary: a name or a number; empty: the first")},
        pool_(p.choice("pool", "none", {"none", "first", "mean"},
                       "of tokens [T, F], the first or their mean; of maps [C, …], their mean; none: as they come")),
        prepared_(p) {
    if (!p.is_describing()) {
      script_.emplace(keys_, p, std::vector<Input>{}, ScriptModule::Use::encoder);
      script_->weights()->eval();
    }
  }

  Tensor features(const Tensor& x) override {
    const at::ScalarType weights = script_->dtype(at::kFloat);
    const Tensor pictures = prepared_(x.to(weights == at::kDouble ? at::kDouble : at::kFloat)).to(weights);
    Tensor out;
    try {
      out = (*script_)(pictures, {}, {});
    } catch (const ScriptFault& e) {
      throw RequestError(e.key + ": " + e.what());
    } catch (const std::exception& e) {
      throw RequestError(keys_.file + ": fails on pictures of " + script_parts::spell(pictures.sizes().slice(1)) +
                         ": " + script_parts::line_of(e));
    }
    return pooled(out).to(weights == at::kDouble ? at::kDouble : at::kFloat);
  }

  Tensor forward(const Tensor&, const Tensor&, const Conditioning&) override {
    throw RequestError("gives features, and is nothing to train; expected a network of another type in [network]");
  }
  std::vector<std::string> inputs() const override { return {}; }
  std::shared_ptr<torch::nn::Module> module() override { return script_->weights(); }

 private:
  Tensor pooled(const Tensor& out) const {
    if (pool_ == "none" || out.dim() == 2) {
      return out;
    }
    if (out.dim() < 3 || (pool_ == "first" && out.dim() != 3)) {
      throw RequestError("pool: " + keys_.file + " gives " + script_parts::spell(out.sizes()) + "; expected " +
                         (pool_ == "first" ? "tokens [B, T, F]" : "tokens [B, T, F], or maps [B, C, …]"));
    }
    return pool_ == "first" ? out.select(1, 0) : out.dim() == 3 ? out.mean(1) : out.flatten(2).mean(2);
  }

  ScriptKeys keys_;
  std::string pool_;
  PicturePreparation prepared_;
  std::optional<ScriptModule> script_;
};

RETORT_PLUGIN(PictureEncoder, network, picture_encoder)
