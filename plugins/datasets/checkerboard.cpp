/// Points uniform on the dark squares of a checkerboard over [-1, 1] x [-1, 1].
///
///     [dataset]
///     type = "checkerboard"
///     pairs = 2
///     samples = 20000
#include <retort/plugin.h>

#include "../shared/points.h"

using namespace retort;

class Checkerboard final : public Points {
 public:
  explicit Checkerboard(Params& p)
      : Points(p), side_(2 * p.get("pairs", 2, "half the squares along a side", at_least(1))) {}

 protected:
  Tensor draw(int64_t n, at::Generator generator) const override {
    const auto options = at::TensorOptions().dtype(at::kDouble);
    const Tensor row = at::randint(0, side_, {n}, generator, options);
    const Tensor pair = at::randint(0, side_ / 2, {n}, generator, options);
    const Tensor column = 2 * pair + at::remainder(row, 2);
    const Tensor within = at::rand({n, 2}, generator, options);
    return ((at::stack({column, row}, 1) + within) * (2.0 / static_cast<double>(side_)) - 1).to(at::kFloat);
  }

 private:
  int64_t side_;
};

RETORT_PLUGIN(Checkerboard, dataset, checkerboard)
