/// DPM-Solver, single step, orders 1 to 3: exponential integrators of the noise prediction in log-SNR.
///
/// Between t and s, with lambda = log(alpha / sigma) and h = lambda_s - lambda_t, the linear part of the ODE is solved
/// exactly and the noise prediction is expanded in lambda from `order` evaluations, at lambda_t + r1 h and lambda_t +
/// r2 h besides the first. Steps that leave alpha = 0 or end at sigma = 0, where h is infinite, are taken by DDIM,
/// which is order 1 of the same family. `dpmpp_2s` and `dpmpp_3s` expand the data prediction. Source: Lu et al. 2022
/// (arXiv 2206.00927), algorithms 1 and 2; other r1 and r2 as in its appendix and code.
///
///     [solver]
///     type = "dpm_solver"
///     order = 2                      # 1, 2 or 3
///     # r1 = 0.5                     # of order 2; 1/3 of order 3
///     # r2 = 0.667                   # of order 3
#include "dpm_step.h"

using namespace retort;

class DpmSolver final : public Solver {
 public:
  explicit DpmSolver(Params& p)
      : order_(static_cast<int>(p.get("order", 2, "order of the method, and evaluations per step", between(1, 3)))) {
    if (order_ > 1) {
      const double r1 = p.get("r1", 0.0,
                              "where an inner evaluation is made, as a part of the step in log-SNR; 0: 1/2 of order 2, "
                              "1/3 of order 3",
                              {.low = 0, .high = 1, .high_open = true});
      r1_ = r1 > 0 ? r1 : order_ == 2 ? 0.5 : 1.0 / 3;
    }
    if (order_ > 2) {
      r2_ = DpmStep::read_part(p, "r2", 2.0 / 3);
      DpmStep::check_parts(p, r1_, r2_);
    }
  }
  int order() const override { return order_ < 3 ? order_ : DpmStep::order_of(r2_); }
  int evaluations() const override { return order_; }
  bool interior() const override { return true; }

  Tensor step(const Step& step, const Tensor& x) const override {
    DpmStep way(DpmStep::Prediction::noise, step.ode, step.from, step.to, x);
    return order_ == 1 ? way.first() : order_ == 2 ? way.second(r1_) : way.third(r1_, r2_);
  }

 private:
  int order_;
  double r1_ = 0, r2_ = 0;
};

RETORT_PLUGIN(DpmSolver, solver, dpm_solver)
