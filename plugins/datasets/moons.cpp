/// Two interleaved half circles in two dimensions, centred, of extent about 1.
///
///     [dataset]
///     type = "moons"
///     noise = 0.03
///     samples = 20000
#include <retort/plugin.h>

#include <cmath>

#include "../shared/points.h"

using namespace retort;

class Moons final : public Points {
 public:
  explicit Moons(Params& p)
      : Points(p), noise_(p.get("noise", 0.03, "standard deviation around the arcs", at_least(0))) {}

 protected:
  Tensor draw(int64_t n, at::Generator generator) const override {
    const Tensor lower = at::randint(0, 2, {n}, generator, at::kDouble);
    const Tensor angle = at::rand({n}, generator, at::TensorOptions().dtype(at::kDouble)) * M_PI;
    const Tensor sign = 1 - 2 * lower;  // the lower moon is the upper one turned by half a circle, and shifted
    const Tensor x = sign * angle.cos() + lower - 0.5;
    const Tensor y = sign * angle.sin() + 0.5 * lower - 0.25;
    const Tensor noise = at::randn({n, 2}, generator, at::TensorOptions().dtype(at::kDouble)) * noise_;
    return (at::stack({x, y}, 1) / 1.5 + noise).to(at::kFloat);
  }

 private:
  double noise_;
};

RETORT_PLUGIN(Moons, dataset, moons)
