/// Between pictures and the states that are diffused, the latents.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "retort/network.h"

namespace retort {

class RETORT_API Autoencoder {
 public:
  static constexpr const char* kind = "autoencoder";
  using Interface = Autoencoder;
  virtual ~Autoencoder();

  /// Latents [B, c, h, w] of pictures x: [B, C, H, W], in [-1, 1]. They are shifted and scaled, as diffusion models see
  /// them. A variational encoder's are drawn with `noise`, standard normal and of the latents' shape; its mean where
  /// `noise` is undefined. Rows are treated alike and alone. Throws Error for a shape that it cannot take.
  virtual Tensor encode(const Tensor& x, const Tensor& noise = {}) const = 0;
  /// Pictures [B, C, H, W] of such latents z: [B, c, h, w]. They lie about [-1, 1], and are not clamped.
  virtual Tensor decode(const Tensor& z) const = 0;

  /// The shape [c, h, w] of the latents of a picture [C, H, W]. Throws RequestError where it cannot take such ones.
  virtual std::vector<int64_t> latent_shape(const std::vector<int64_t>& picture) const = 0;
  /// The shape [C, H, W] of what is decoded from latents [c, h, w]. Throws RequestError where it cannot take such ones.
  virtual std::vector<int64_t> picture_shape(const std::vector<int64_t>& latent) const = 0;

  /// What `encode` did to the network's latents at last: (z - shift) * scaling_factor. By default nothing.
  virtual double scaling_factor() const;
  virtual double shift() const;
};

namespace inputs {
/// Standard normal numbers [B, …], at least as many a row as latents have, for training an autoencoder; or [B, 0].
inline constexpr std::string_view posterior_noise = "posterior_noise";
}  // namespace inputs

/// A network that can be trained as an autoencoder.
class RETORT_API AutoencoderNetwork : public Network {
 public:
  ~AutoencoderNetwork() override;

  /// What the encoder says of pictures x: [B, C, H, W]: latents [B, c, h, w], before shift and scaling. Of a
  /// variational one, mean and log-variance, [B, 2c, h, w].
  virtual Tensor encode(const Tensor& x) = 0;
  virtual Tensor decode(const Tensor& z) = 0;
  /// Whether `encode` gives mean and log-variance.
  virtual bool is_variational() const = 0;

  /// Encodes and decodes, by the mean where it is variational: [B, C, H, W]. Given `inputs::posterior_noise`, a
  /// variational one draws its latents with a row's first numbers of it, where these are [B, 0] by the mean again, and
  /// what comes out is [B, …]: the flattened picture, behind it what `encode` gave, flattened too, and one number, 1
  /// where it is variational and 0 where it is not.
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override;
  std::vector<std::string> inputs() const override;
};

}  // namespace retort
