/// How well an autoencoder gives test pictures back, by the mean of what it encodes.
///
///     mse         mean of (decode(encode(x)) - x)^2
///     psnr        mean over pictures of 10 log10(2^2 / mse), in dB, of pictures in [-1, 1]; at most 106
///     latent_std  deviation of all latents in one, those that are drawn where it is variational
///
/// Diffusion models want latents of deviation one: the inverse of `latent_std` is the `scaling_factor`.
/// Source: Rombach et al. 2022 (arXiv 2112.10752), table 8 and appendix G.
///
///     [evaluate]
///     metrics = ["reconstruction"]
#include <retort/autoencoder.h>
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

using namespace retort;

class Reconstruction final : public Metric {
 public:
  explicit Reconstruction(Params& p)
      : samples_(p.get("samples", 10000, "test pictures at most", at_least(1))),
        batch_(p.get("batch", 100, "pictures that go through the network at once", at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    if (evaluation.network() == nullptr || evaluation.dataset() == nullptr) {
      return {};
    }
    const at::NoGradGuard no_grad;
    const Tensor x = evaluation.data(samples_).x;
    double squares = 0, decibels = 0;
    Sums sums;
    for (const Tensor& part : x.split(batch_)) {
      const Tensor none = at::empty({part.size(0), 0}, part.options());
      const Tensor out = (*evaluation.network())(part, {}, {{inputs::posterior_noise, none}});
      const int64_t numbers = part[0].numel(), encoded = (out.dim() == 2 ? out.size(1) : 0) - numbers - 1;
      if (encoded < 1) {
        throw RequestError("is of autoencoders, and this loss trains none");
      }
      const Tensor picture = out.narrow(1, 0, numbers).to(at::kDouble);
      const Tensor mse = (picture - part.flatten(1).to(at::kDouble)).square().mean(1);
      squares += mse.sum().item<double>();
      decibels += (10 * (range * range / mse.clamp_min(least)).log10()).sum().item<double>();
      sums.add(out.narrow(1, numbers, encoded).to(at::kDouble), out[0][out.size(1) - 1].item<double>() != 0);
    }
    const auto n = static_cast<double>(x.size(0));
    return {{{"psnr", decibels / n}, {"mse", squares / n}, {"latent_std", sums.deviation()}}, {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override {
    return {{"psnr", 10 * std::log10(range * range / least)}, {"mse", 0}};
  }

 private:
  static constexpr double range = 2, least = 1e-10;

  // Of the latents, all in one.
  struct Sums {
    double numbers = 0, sum = 0, square = 0;
    void add(const Tensor& encoded, bool variational) {
      const Tensor mean = variational ? encoded.chunk(2, 1)[0] : encoded;
      numbers += static_cast<double>(mean.numel());
      sum += mean.sum().item<double>();
      square += mean.square().sum().item<double>();
      if (variational) {
        square += encoded.chunk(2, 1)[1].clamp(-30, 20).exp().sum().item<double>();
      }
    }
    double deviation() const {
      const double mean = sum / numbers;
      return std::sqrt(std::max(0.0, square / numbers - mean * mean));
    }
  };

  int64_t samples_, batch_;
};

RETORT_PLUGIN(Reconstruction, metric, reconstruction)
