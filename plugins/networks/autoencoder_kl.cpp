/// diffusers' `AutoencoderKL`: the variational autoencoder of Stable Diffusion, with the same weights and keys.
///
/// The encoder makes mean and log-variance of the latents, at half the size for each level but the last; the decoder
/// makes a picture of latents. The keys are those of its `config.json`, and so are their defaults; a key that is null
/// there is 0 or an empty list here. The names of the weights are diffusers' too, so that a network trained here can be
/// read there, and the other way round. It is trained by loss `autoencoding`. Labels and other conditions are not read.
/// Source: diffusers 0.42.1, `models/autoencoders/autoencoder_kl.py`; Rombach et al. 2022 (arXiv 2112.10752).
///
///     [network]
///     type = "autoencoder_kl"
///     block_out_channels = [32, 64]
///     down_block_types = ["DownEncoderBlock2D", "DownEncoderBlock2D"]
///     up_block_types = ["UpDecoderBlock2D", "UpDecoderBlock2D"]
///     norm_num_groups = 8
#include <retort/autoencoder.h>
#include <retort/plugin.h>

#include "../shared/autoencoder_kl.h"

using namespace retort;
using namespace retort::diffusers;

class AutoencoderKl final : public AutoencoderNetwork {
 public:
  explicit AutoencoderKl(Params& p) {
    const KlKeys keys(p);
    if (p.is_describing()) {
      return;
    }
    fit_pictures(p, "autoencoder_kl", "block_out_channels", keys.sizes(), p.host().spec());
    try {
      body_ = std::make_shared<KlBody>(keys);
    } catch (const Misfit& e) {
      throw p.error(e.key, e.what());
    }
  }

  Tensor encode(const Tensor& x) override { return body_->encode(x); }
  Tensor decode(const Tensor& z) override { return body_->decode(z); }
  bool is_variational() const override { return true; }
  std::shared_ptr<torch::nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<KlBody> body_;
};

RETORT_PLUGIN(AutoencoderKl, network, autoencoder_kl)
