/// DPM-Solver++(2S): second order from two evaluations a step, of the data prediction in log-SNR.
///
/// With lambda = log(alpha / sigma) and h = lambda_s - lambda_t, DDIM's step to lambda_t + r1 h gives D_1 there, and
///   x_s = sigma_s / sigma_t x + alpha_s (1 - e^{-h}) (D_0 + (D_1 - D_0) / (2 r1))
/// Steps out of pure noise and into sigma = 0, where h is infinite, are DDIM's.
/// Source: Lu et al. 2022 (arXiv 2211.01095), algorithm 1.
///
///     [solver]
///     type = "dpmpp_2s"
///     r1 = 0.5
#include "dpm_step.h"

using namespace retort;

class DpmPp2S final : public Solver {
 public:
  explicit DpmPp2S(Params& p) : r1_(DpmStep::read_part(p, "r1", 0.5)) {}
  int order() const override { return 2; }
  int evaluations() const override { return 2; }
  bool interior() const override { return true; }
  Tensor step(const Step& step, const Tensor& x) const override {
    return DpmStep(DpmStep::Prediction::data, step.ode, step.from, step.to, x).second(r1_);
  }

 private:
  double r1_;
};

RETORT_PLUGIN(DpmPp2S, solver, dpmpp_2s)
