/// A variational autoencoder of diffusers, `AutoencoderKL`: that of Stable Diffusion, SDXL, SD 3 or Flux, or one's own.
///
/// `folder` is what `save_pretrained` wrote: a whole pipeline, whose `vae` is taken, or the model alone. Weights are
/// safetensors, read where they lie; their files have to stay as they are while a run goes on. `checkpoint`, in place
/// of it, is a network `autoencoder_kl` that Retort trained by loss `autoencoding`. Latents are what the encoder draws,
/// or its mean, as (z - shift_factor) * scaling_factor; where config.json has a mean and a deviation of each channel,
/// as (z - latents_mean) / latents_std * scaling_factor. Pictures lie in [-1, 1]. The sides of a picture have to be
/// multiples of 2 for each level but the last: 8 for those models.
/// Source: diffusers 0.42.1, `models/autoencoders/autoencoder_kl.py`; Rombach et al. 2022 (arXiv 2112.10752).
///
///     [autoencoder]
///     type = "autoencoder_kl"
///     folder = "my_pipeline"
#include <retort/plugin.h>

#include "../shared/autoencoder_kl.h"
#include "../shared/network_autoencoder.h"

using namespace retort;

class KlAutoencoder final : public NetworkAutoencoder {
 public:
  explicit KlAutoencoder(Params& p)
      : NetworkAutoencoder(p, "autoencoder_kl", "AutoencoderKL", [](Params& keys) -> Reading {
          const diffusers::KlKeys read(keys);
          return {read.sizes(), read.scale, read.wide};
        }) {}
};

RETORT_PLUGIN(KlAutoencoder, autoencoder, autoencoder_kl)
