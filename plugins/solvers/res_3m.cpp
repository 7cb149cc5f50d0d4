/// RES, three steps: third order from one evaluation a step, under conditions that need phi_1 and phi_2 alone.
///
/// With h = lambda_s - lambda_t, c_i = (lambda_i - lambda_t) / h of the steps before and phi_k at -h:
///   g = (3 c_3^2 - 2 c_3) / (c_2 (2 - 3 c_2)), b_3 = phi_2 / (g c_2 + c_3), b_2 = g b_3, b_1 = phi_1 - b_2 - b_3
///   x_s = sigma_s / sigma_t x + alpha_s h (b_1 D_0 + b_2 D_1 + b_3 D_2)
/// So the weights integrate r^2 as 2/3 phi_2, and not exactly, as 2 phi_3: of order 3 all the same. RES4LYF has c_3^3
/// in g. That is the same at c_3 = 1 alone, which no step before has, and lowers the order to 2.
/// Source: Zhang et al. 2023 (arXiv 2308.02157), the conditions of its single steps with c_2, c_3 < 0; RES4LYF.
///
///     [solver]
///     type = "res_3m"
///     gamma = "third_order"          # g; or "res4lyf", the peer's, of order 2
///     start = "full"                 # or "ddim", the peer's, which holds the order at 2
#include "multistep.h"

using namespace retort;

class Res3M final : public Multistep {
 public:
  explicit Res3M(Params& p)
      : Multistep(Integral::data_in_lambda, 3, read_ends(p)),
        third_order_(p.choice("gamma", "third_order", {"third_order", "res4lyf"}, "g, by c_3^2 or by c_3^3") ==
                     "third_order") {}
  int order() const override { return third_order_ ? Multistep::order() : 2; }

 private:
  void weights(int count, const double* r, const double* m, double* w) const override {
    double square = 2.0 / 3 * m[1];
    if (!third_order_ && count == 3) {
      const double c2 = r[1], c3 = r[2], g = (3 * c3 * c3 * c3 - 2 * c3) / (c2 * (2 - 3 * c2));
      square = m[1] * (g * c2 * c2 + c3 * c3) / (g * c2 + c3);
    }
    solve_moments(count, r, std::array{m[0], m[1], square}.data(), w);
  }

  bool third_order_;
};

RETORT_PLUGIN(Res3M, solver, res_3m)
