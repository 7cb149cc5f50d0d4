/// Gradient estimation: Euler's step in sigma / alpha along the noise prediction carried beyond its last change.
///
/// With y = x / alpha and rho = sigma / alpha, y_s = y_t + (rho_s - rho_t) (gamma eps_0 + (1 - gamma) eps_1), eps_1
/// that of the step before. A row's first step, and steps out of pure noise and into sigma = 0, are DDIM's. gamma = 3/2
/// is the method of Adams and Bashforth on equal steps, of order 2; any other gamma is of order 1, whatever it does to
/// few steps.
/// Source: Permenter & Yuan 2023 (arXiv 2306.04848), with gamma = 2; ComfyUI's `gradient_estimation`.
///
///     [solver]
///     type = "gradient_estimation"
///     gamma = 2.0
#include "multistep.h"

using namespace retort;

class GradientEstimation final : public Multistep {
 public:
  explicit GradientEstimation(Params& p)
      : Multistep(Integral::noise_in_lambda, 2),
        gamma_(p.get("gamma", 2.0, "weight of the prediction now; that before has 1 - gamma", at_least(1))) {}
  int order() const override { return gamma_ == 1.5 ? 2 : 1; }

 private:
  // The sum of weights m[0] is rho's way in lambda.
  void weights(int count, const double*, const double* m, double* w) const override {
    w[0] = count == 1 ? m[0] : gamma_ * m[0];
    if (count == 2) {
      w[1] = (1 - gamma_) * m[0];
    }
  }

  double gamma_;
};

RETORT_PLUGIN(GradientEstimation, solver, gradient_estimation)
