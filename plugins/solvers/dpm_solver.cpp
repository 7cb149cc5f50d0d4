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

  Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History&) const override {
    const Process& process = ode.process();
    const Tensor h = process.lambda(s) - process.lambda(t);
    return by_rows(
        h.isfinite().bitwise_and(order_ > 1),
        [&](const Tensor& i) {
          const Tensor xi = x.index_select(0, i.to(x.device())), ti = t.index_select(0, i), si = s.index_select(0, i);
          return order_ == 2 ? second(ode.rows(i), xi, ti, si) : third(ode.rows(i), xi, ti, si);
        },
        [&](const Tensor& i) {
          const Tensor xi = x.index_select(0, i.to(x.device())), ti = t.index_select(0, i);
          return ddim_step(process, xi, ode.rows(i).data(xi, ti), ti, s.index_select(0, i));
        });
  }

 private:
  // Quantities of one step from t towards the fraction r of h.
  struct Stage {
    Stage(const Process& p, const Tensor& t, const Tensor& h, double r) : rh(h * r), time(p.time(p.lambda(t) + rh)) {
      scale = p.alpha(time) / p.alpha(t);
      phi = p.sigma(time) * rh.expm1();
    }
    Tensor rh, time;
    Tensor scale;  // alpha_1 / alpha_t
    Tensor phi;    // sigma_1 (e^{r h} - 1)
  };

  static Tensor second(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s) {
    constexpr double r1 = 0.5;
    const Process& p = ode.process();
    const Tensor h = p.lambda(s) - p.lambda(t);
    const Stage one(p, t, h, r1);
    const Tensor phi = p.sigma(s) * h.expm1();
    const Tensor e = ode.noise(x, t);
    const Tensor u = rows(one.scale, x) * x - rows(one.phi, x) * e;
    const Tensor e1 = ode.noise(u, one.time);
    return rows(p.alpha(s) / p.alpha(t), x) * x - rows(phi, x) * e - rows(phi / (2 * r1), x) * (e1 - e);
  }

  static Tensor third(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s) {
    constexpr double r1 = 1.0 / 3;
    constexpr double r2 = 2.0 / 3;
    const Process& p = ode.process();
    const Tensor h = p.lambda(s) - p.lambda(t);
    const Stage one(p, t, h, r1);
    const Stage two(p, t, h, r2);
    const Tensor e = ode.noise(x, t);
    const Tensor u1 = rows(one.scale, x) * x - rows(one.phi, x) * e;
    const Tensor d1 = ode.noise(u1, one.time) - e;
    const Tensor slope = p.sigma(two.time) * (r2 / r1) * (two.rh.expm1() / two.rh - 1);
    const Tensor u2 = rows(two.scale, x) * x - rows(two.phi, x) * e - rows(slope, x) * d1;
    const Tensor d2 = ode.noise(u2, two.time) - e;
    return rows(p.alpha(s) / p.alpha(t), x) * x - rows(p.sigma(s) * h.expm1(), x) * e -
           rows(p.sigma(s) / r2 * (h.expm1() / h - 1), x) * d2;
  }

  int order_;
};

RETORT_PLUGIN(DpmSolver, solver, dpm_solver)
