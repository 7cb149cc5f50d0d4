/// DPM-Solver++(3S): third order from three evaluations a step, of the data prediction in log-SNR.
///
/// With lambda = log(alpha / sigma), h = lambda_s - lambda_t, phi_k(z) those of exponential integrators, D_1 at r1 h
/// by DDIM's step and D_2 at r2 h by D_0 and D_1:
///   x_s = sigma_s / sigma_t x + alpha_s h (phi_1(-h) D_0 + phi_2(-h) (D_2 - D_0) / r2)
/// That is of order 3 for r2 = 2/3, and any r1; with another r2 it is of order 2. RES4LYF's default is r2 = 1.
/// Steps out of pure noise and into sigma = 0, where h is infinite, are DDIM's.
/// Source: Lu et al. 2022 (arXiv 2211.01095); the formula is that of its code.
///
///     [solver]
///     type = "dpmpp_3s"
///     # r1 = 0.333
///     # r2 = 0.667
#include "dpm_step.h"

using namespace retort;

class DpmPp3S final : public Solver {
 public:
  explicit DpmPp3S(Params& p) : r1_(DpmStep::read_part(p, "r1", 1.0 / 3)), r2_(DpmStep::read_part(p, "r2", 2.0 / 3)) {
    DpmStep::check_parts(p, r1_, r2_);
  }
  int order() const override { return DpmStep::order_of(r2_); }
  int evaluations() const override { return 3; }
  bool interior() const override { return true; }
  Tensor step(const Step& step, const Tensor& x) const override {
    return DpmStep(DpmStep::Prediction::data, step.ode, step.from, step.to, x).third(r1_, r2_);
  }

 private:
  double r1_, r2_;
};

RETORT_PLUGIN(DpmPp3S, solver, dpmpp_3s)
