/// diffusers' `AutoencoderTiny`: the small autoencoder called TAESD, with the same weights and keys.
///
/// Convolutions and residual blocks without norms and without attention; what the encoder makes are the latents
/// themselves, drawn from nothing. The keys are those of its `config.json`, and so are their defaults. The names of the
/// weights are diffusers' too. It is trained by loss `autoencoding`. Labels and other conditions are not read. Latents
/// are limited to 3 in front of the decoder, smoothly.
/// Source: diffusers 0.42.1, `models/autoencoders/autoencoder_tiny.py`; https://github.com/madebyollin/taesd.
///
///     [network]
///     type = "autoencoder_tiny"
///     encoder_block_out_channels = [32, 32]
///     decoder_block_out_channels = [32, 32]
///     num_encoder_blocks = [1, 2]
///     num_decoder_blocks = [2, 1]
#include <retort/autoencoder.h>
#include <retort/plugin.h>

#include "../shared/autoencoder_tiny.h"

using namespace retort;
using namespace retort::diffusers;

class AutoencoderTiny final : public AutoencoderNetwork {
 public:
  explicit AutoencoderTiny(Params& p) {
    const TinyKeys keys(p);
    if (p.is_describing()) {
      return;
    }
    fit_pictures(p, "autoencoder_tiny", "num_encoder_blocks", keys.sizes(), p.host().spec());
    body_ = std::make_shared<TinyBody>(keys);
  }

  Tensor encode(const Tensor& x) override { return body_->encode(x); }
  Tensor decode(const Tensor& z) override { return body_->decode(z); }
  bool is_variational() const override { return false; }
  std::shared_ptr<torch::nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<TinyBody> body_;
};

RETORT_PLUGIN(AutoencoderTiny, network, autoencoder_tiny)
