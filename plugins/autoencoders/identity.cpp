/// No autoencoder: latents are the pictures themselves, whatever their shape.
///
/// For sweeps over autoencoders, and to see what one costs.
///
///     [autoencoder]
///     type = "identity"
#include <retort/autoencoder.h>
#include <retort/plugin.h>

using namespace retort;

class Identity final : public Autoencoder {
 public:
  explicit Identity(Params&) {}
  Tensor encode(const Tensor& x, const Tensor&) const override { return x; }
  Tensor decode(const Tensor& z) const override { return z; }
  std::vector<int64_t> latent_shape(const std::vector<int64_t>& picture) const override { return picture; }
  std::vector<int64_t> picture_shape(const std::vector<int64_t>& latent) const override { return latent; }
};

RETORT_PLUGIN(Identity, autoencoder, identity)
