/// An autoencoder for the tests, exact both ways: the four pixels of a square are four channels of a latent, times a
/// factor. What is drawn differs from the mean by a tenth of the noise.
#include <retort/autoencoder.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <chrono>
#include <thread>

using namespace retort;

class Folded final : public Autoencoder {
 public:
  explicit Folded(Params& p)
      : factor_(p.get("factor", 0.5, "what latents are multiplied by", more_than(0))),
        wait_(p.get("wait", 0, "milliseconds that each encoding takes longer", at_least(0))) {}

  Tensor encode(const Tensor& x, const Tensor& noise) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(wait_));
    const Tensor z = at::pixel_unshuffle(x, 2) * factor_;
    return noise.defined() ? z + 0.1 * noise : z;
  }
  Tensor decode(const Tensor& z) const override { return at::pixel_shuffle(z / factor_, 2); }

  std::vector<int64_t> latent_shape(const std::vector<int64_t>& picture) const override {
    if (picture.size() != 3 || (picture[0] != 1 && picture[0] != 3) || picture[1] % 2 != 0 || picture[2] % 2 != 0) {
      throw RequestError("pictures have 1 or 3 channels and even sides");
    }
    return {4 * picture[0], picture[1] / 2, picture[2] / 2};
  }
  std::vector<int64_t> picture_shape(const std::vector<int64_t>& latent) const override {
    if (latent.size() != 3 || (latent[0] != 4 && latent[0] != 12)) {
      throw RequestError("latents have 4 or 12 channels");
    }
    return {latent[0] / 4, latent[1] * 2, latent[2] * 2};
  }
  double scaling_factor() const override { return factor_; }

 private:
  double factor_;
  int64_t wait_;
};

RETORT_PLUGIN(Folded, autoencoder, folded)
