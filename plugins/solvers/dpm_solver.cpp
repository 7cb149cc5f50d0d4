/// DPM-Solver, single step, orders 1 to 3: exponential integrators of the noise prediction in log-SNR.
///
/// Between t and s, with lambda = log(alpha / sigma) and h = lambda_s - lambda_t, the linear part of the ODE is solved
/// exactly and the noise prediction is expanded in lambda from `order` evaluations. Steps that leave alpha = 0 or end
/// at sigma = 0, where h is infinite, are taken by DDIM, which is order 1 of the same family.
/// Source: Lu et al. 2022 (arXiv 2206.00927), algorithms 1 and 2, r1 = 1/2 for order 2; r1 = 1/3, r2 = 2/3 for order 3.
///
///     [solver]
///     type = "dpm_solver"
///     order = 2                      # 1, 2 or 3
#include <retort/exponential.h>
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

class DpmSolver final : public Solver {
 public:
  explicit DpmSolver(Params& p)
      : order_(static_cast<int>(p.get("order", 2, "order of the method, and evaluations per step", between(1, 3)))) {}
  int order() const override { return order_; }
  int evaluations() const override { return order_; }
  bool interior() const override { return true; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Ode& ode = step.ode;
    const Tensor h = step.to.lambda() - step.from.lambda();
    // alpha_1 / alpha x - sigma_1 (e^{rh} - 1) e - sigma_1 rh phi_2(rh) d: the way to `at`, r h further in lambda, with
    // noise predicted as e there where it is now, and rising by d over r h.
    const auto along = [&](const Times& at, const Tensor& rh, const Tensor& e, const Tensor& d, double factor) {
      std::vector<Term> terms = {{at.alpha() / step.from.alpha(), x}, {-at.sigma() * rh.expm1(), e}};
      if (d.defined()) {
        terms.push_back({-factor * at.sigma() * rh * phi(2, rh), d});
      }
      return combine(terms);
    };
    const auto between = [&](double r) { return Times(ode.process(), ode.process().time(step.from.lambda() + r * h)); };
    const Tensor e = ode.noise(x, step.from.t());
    if (order_ == 1) {
      return along(step.to, h, e, {}, 0);
    }
    if (order_ == 2) {  // r1 = 1/2: the noise prediction halfway stands for the whole step
      const Times middle = between(0.5);
      return along(step.to, h, ode.noise(along(middle, 0.5 * h, e, {}, 0), middle.t()), {}, 0);
    }
    constexpr double r1 = 1.0 / 3, r2 = 2.0 / 3;
    const Times one = between(r1), two = between(r2);
    const Tensor d1 = ode.noise(along(one, r1 * h, e, {}, 0), one.t()) - e;
    const Tensor d2 = ode.noise(along(two, r2 * h, e, d1, r2 / r1), two.t()) - e;
    return along(step.to, h, e, d2, 1 / r2);
  }

 private:
  int order_;
};

RETORT_PLUGIN(DpmSolver, solver, dpm_solver)
