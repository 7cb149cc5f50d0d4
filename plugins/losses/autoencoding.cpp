/// What trains an autoencoder: the pictures again, from latents that are kept near the standard normal.
///
///     L = d(decode(z), x) + kl_weight KL / D,   KL = 1/2 sum (m^2 + v - 1 - log v)
///
/// over the latents of a picture of D numbers, with z = m + sqrt(v) e drawn from what a variational encoder says of x.
/// So the weights mean the same as where both are sums over a picture, as in the source: 1e-6 there. Of other networks,
/// latent_weight times the mean of z^2 takes the place of the KL. `distance = "features"` compares what a trained
/// network sees of both pictures; a list of two losses has that and another distance together. What the latents'
/// deviation comes to, metric `reconstruction` says: `scaling_factor` is its inverse.
/// Source: Rombach et al. 2022 (arXiv 2112.10752), section 3.1 and appendix G; Kingma & Welling 2014 (arXiv 1312.6114),
/// appendix B.
///
///     [loss]
///     type = "autoencoding"
///     distance = "l1"
///     kl_weight = 1e-6
#include <retort/autoencoder.h>
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <atomic>

using namespace retort;

class Autoencoding final : public Loss {
 public:
  explicit Autoencoding(Params& p)
      : distance_(p, "l1"),
        kl_weight_(p.get("kl_weight", 1e-6, "of the KL of a variational network's latents", at_least(0))),
        latent_weight_(p.get("latent_weight", 0.0, "of the squared latents of other networks", at_least(0))) {}

  Makes makes() const override { return Makes::autoencoder; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor& x = step.batch.x;
    Coded coded = code(step, latents_);
    if (coded.variational && coded.latents != latents_) {  // how many there are is known now
      latents_ = coded.latents;
      coded = code(step, coded.latents);
    }
    const Tensor error = distance_(coded.picture, x);
    if (!coded.variational) {
      const Tensor squares = coded.encoded.square().mean(1);
      return {error + latent_weight_ * squares,
              {},
              {},
              {{"distance", error.detach().mean()}, {"latents", squares.detach().mean()}}};
    }
    const std::vector<Tensor> parts = coded.encoded.chunk(2, 1);
    const Tensor log_variance = parts[1].clamp(-30, 20);
    const Tensor kl = 0.5 * (parts[0].square() + log_variance.exp() - 1 - log_variance).sum(1);
    return {error + kl_weight_ / static_cast<double>(x[0].numel()) * kl,
            {},
            {},
            {{"distance", error.detach().mean()}, {"kl", kl.detach().mean()}}};
  }

 private:
  struct Coded {
    Tensor picture;  // like the batch
    Tensor encoded;  // [B, …]
    bool variational;
    int64_t latents;  // numbers of a picture's
  };

  // With that many drawn numbers a row; 0: the mean.
  static Coded code(const TrainingStep& step, int64_t drawn) {
    const Tensor& x = step.batch.x;
    Tensor noise = at::empty({x.size(0), 0}, x.options());
    if (drawn > 0) {
      // Of a copy, so that the numbers do not depend on how often they were asked for.
      noise = step.brought ? step.brought("noise").to(x.options())
                           : step.part(at::randn({step.whole_rows(), drawn}, step.generator.clone(),
                                                 at::TensorOptions().dtype(at::kFloat)))
                                 .to(x.options());
    }
    const Tensor out = step.student.network()(x, {}, {{inputs::posterior_noise, noise}});
    const int64_t numbers = x[0].numel(), columns = out.dim() == 2 ? out.size(1) : 0;
    if (columns <= numbers + 1) {
      throw RequestError(
          "loss 'autoencoding' needs a network that is an autoencoder; expected 'autoencoder_kl' or "
          "'autoencoder_tiny'");
    }
    const int64_t encoded = columns - numbers - 1;
    const bool variational = out.select(1, columns - 1)[0].item<double>() != 0;
    return {out.narrow(1, 0, numbers).view_as(x), out.narrow(1, numbers, encoded), variational,
            variational ? encoded / 2 : encoded};
  }

  Distance distance_;
  double kl_weight_, latent_weight_;
  mutable std::atomic<int64_t> latents_ = 0;
};

RETORT_PLUGIN(Autoencoding, loss, autoencoding)
