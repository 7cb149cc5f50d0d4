/// Two-dimensional points on concentric rings, the outermost of radius 1.
///
///     [dataset]
///     type = "rings"
///     rings = 2
///     noise = 0.03
#include <retort/plugin.h>

#include <cmath>

#include "../shared/points.h"

using namespace retort;

class Rings final : public Points {
 public:
  explicit Rings(Params& p)
      : Points(p),
        count_(p.get("rings", 2, "number of rings", at_least(1))),
        noise_(p.get("noise", 0.03, "standard deviation around a ring", at_least(0))) {}

 protected:
  Tensor draw(int64_t n, at::Generator generator) const override {
    const Tensor ring = at::randint(1, count_ + 1, {n}, generator, at::kDouble);
    const Tensor angle = at::rand({n}, generator, at::TensorOptions().dtype(at::kDouble)) * (2 * M_PI);
    const Tensor radius = (ring / static_cast<double>(count_)).unsqueeze(1);
    const Tensor noise = at::randn({n, 2}, generator, at::TensorOptions().dtype(at::kDouble)) * noise_;
    return (at::stack({angle.cos(), angle.sin()}, 1) * radius + noise).to(at::kFloat);
  }

 private:
  int64_t count_;
  double noise_;
};

RETORT_PLUGIN(Rings, dataset, rings)
