/// Ancestral sampling by DPM-Solver++(2S): each step goes below its noise level and draws the difference anew.
///
/// With levels l = sigma / alpha, up = eta l_s sqrt(1 - (l_s / l_t)^2) and down = sqrt(l_s^2 - up^2), the ODE is solved
/// from l_t to `down` by one step whose data prediction is that at the middle in log l, which is reached by DDIM. Noise
/// then brings the state up to l_s: x_s = alpha_s (y + up s_noise z). Second order in expectations, two evaluations.
/// eta = 0 is `dpmpp_2s`; eta = 1 has DDPM's posterior variance. Steps out of alpha = 0 and into sigma = 0 are
/// those of `euler_ancestral`. Source: Crowson et al., k-diffusion's sample_dpmpp_2s_ancestral; Lu et al. 2022
/// (arXiv 2211.01095), algorithm 1.
///
///     [solver]
///     type = "dpmpp_2s_ancestral"
///     eta = 1.0
///     s_noise = 1.0
#include <retort/plugin.h>

#include "sde.h"

using namespace retort;

class DpmPp2SAncestral final : public Solver {
 public:
  explicit DpmPp2SAncestral(Params& p)
      : eta_(p.get("eta", 1.0, "share of the noise that is drawn anew; 0: none, the ODE", between(0, 1))),
        s_noise_(p.get("s_noise", 1.0, "factor of the noise; the marginals are kept by 1 alone", at_least(0))) {}
  int order() const override { return 2; }
  int evaluations() const override { return 2; }
  bool interior() const override { return true; }
  bool stochastic() const override { return eta_ > 0; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Process& process = step.ode.process();
    const Ancestral ancestral(step.from, step.to, eta_);
    const Times middle(process, process.time_of_noise_level((step.from.noise_level() * ancestral.down).sqrt()));
    const Tensor there = ddim_step(step.from, middle, x, step.ode.data(x, step.from.t()));
    return apply(ancestral, x, step.ode.data(there, middle.t()), draw(step, x));
  }
  Tensor edge_step(const Step& step, const Tensor& x) const override {
    return apply(Ancestral(step.from, step.to, eta_), x, step.ode.data(x, step.from.t()), draw(step, x));
  }

 private:
  Tensor draw(const Step& step, const Tensor& x) const {
    return stochastic() ? s_noise_ * step.noise.brownian(x, step.from, step.to, eta_ * eta_) : Tensor();
  }

  double eta_, s_noise_;
};

RETORT_PLUGIN(DpmPp2SAncestral, solver, dpmpp_2s_ancestral)
