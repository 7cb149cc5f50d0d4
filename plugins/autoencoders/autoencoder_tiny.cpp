/// A small autoencoder of diffusers, `AutoencoderTiny`: TAESD and its relatives, or one's own.
///
/// It is many times faster than `autoencoder_kl`, whose latents the published ones imitate, and a little less exact.
/// `folder` is what `save_pretrained` wrote: the model alone, or a pipeline with it as its `vae`. `checkpoint`, in
/// place of it, is a network `autoencoder_tiny` that Retort trained by loss `autoencoding`. Nothing is drawn; latents
/// are (z - shift_factor) * scaling_factor, which published files leave as they are. Pictures lie in [-1, 1], with
/// sides that are multiples of 2 for each level but the last. Source: diffusers 0.42.1,
/// `models/autoencoders/autoencoder_tiny.py`; https://github.com/madebyollin/taesd.
///
///     [autoencoder]
///     type = "autoencoder_tiny"
///     folder = "my_taesd"
#include <retort/plugin.h>

#include "../shared/autoencoder_tiny.h"
#include "../shared/network_autoencoder.h"

using namespace retort;

class TinyAutoencoder final : public NetworkAutoencoder {
 public:
  explicit TinyAutoencoder(Params& p)
      : NetworkAutoencoder(p, "autoencoder_tiny", "AutoencoderTiny", [](Params& keys) -> Reading {
          const diffusers::TinyKeys read(keys);
          return {read.sizes(), read.scale, false};
        }) {}
};

RETORT_PLUGIN(TinyAutoencoder, autoencoder, autoencoder_tiny)
