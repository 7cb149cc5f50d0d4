/// Latents that are the samples themselves, turned by an angle in the plane of each two neighbouring numbers.
///
/// With a = cos(angle), b = sin(angle): z = [[a, b], [-b, a]] x for each pair, so that z has x's shape, and the way back
/// is exact.
///
///     [autoencoder]
///     type = "@name@"
///     angle = 0.5
#include <retort/autoencoder.h>
#include <retort/plugin.h>

#include <ATen/ops/stack.h>

#include <cmath>
#include <string>

using namespace retort;

class @Name@ final : public Autoencoder {
 public:
  explicit @Name@(Params& p) : angle_(p.get("angle", 0.5, "by which each pair is turned, in radians")) {}

  // x: [B, …]. A variational encoder would draw with `noise`, and give its mean where that is undefined.
  Tensor encode(const Tensor& x, const Tensor&) const override { return turned(x, angle_); }
  // z: [B, …]
  Tensor decode(const Tensor& z) const override { return turned(z, -angle_); }

  std::vector<int64_t> latent_shape(const std::vector<int64_t>& picture) const override {
    if (picture.empty() || picture.back() % 2 != 0) {
      throw RequestError("takes samples whose last dimension is even");
    }
    return picture;
  }
  std::vector<int64_t> picture_shape(const std::vector<int64_t>& latent) const override { return latent_shape(latent); }

 private:
  Tensor turned(const Tensor& x, double angle) const {
    std::vector<int64_t> shape = x.sizes().vec();
    latent_shape({shape.begin() + 1, shape.end()});
    const Tensor pairs = x.unflatten(-1, {-1, 2});
    const Tensor first = pairs.select(-1, 0), second = pairs.select(-1, 1);
    const double a = std::cos(angle), b = std::sin(angle);
    return at::stack({a * first + b * second, a * second - b * first}, -1).flatten(-2);
  }

  double angle_;
};

RETORT_PLUGIN(@Name@, autoencoder, @name@)
