/// Ancestral sampling by Euler's method: each step goes below its noise level and draws the difference anew.
///
/// With levels l = sigma / alpha, up = min(l_s, eta l_s sqrt(1 - (l_s / l_t)^2)) and down = sqrt(l_s^2 - up^2), the
/// step is x_s = alpha_s (D + down eps + up z), z standard normal. eta = 0 is DDIM; eta = 1 has DDPM's posterior
/// variance. First order in expectations, one evaluation a step. It solves the reverse SDE, not the ODE: equal seeds
/// give equal noise to a row in any batch. Source: Song et al. 2021 (arXiv 2010.02502), eq. 16; as k-diffusion's
/// sample_euler_ancestral (Crowson et al.).
///
///     [solver]
///     type = "euler_ancestral"
///     eta = 1.0
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

class EulerAncestral final : public Solver {
 public:
  explicit EulerAncestral(Params& p)
      : eta_(p.get("eta", 1.0, "share of the noise that is drawn anew; 0: none, DDIM", at_least(0))) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  bool stochastic() const override { return eta_ > 0; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Tensor &level = step.to.noise_level(), &alpha = step.to.alpha();
    const Tensor up = at::minimum(level, eta_ * level * (1 - (level / step.from.noise_level()).square()).sqrt());
    const Tensor down = (level.square() - up.square()).sqrt();
    const auto [data, noise] = step.ode.predict(x, step.from.t());
    if (!stochastic()) {
      return combine({{alpha, data}, {alpha * down, noise}});
    }
    return combine({{alpha, data}, {alpha * down, noise}, {alpha * up, step.noise.normal(x)}});
  }

 private:
  double eta_;
};

RETORT_PLUGIN(EulerAncestral, solver, euler_ancestral)
