/// DPM-Solver++ SDE: two evaluations a step, the second at a state within the step that has its share of the noise.
///
/// With lambda = log(alpha / sigma), the step first goes to the time of lambda_t + r (lambda_s - lambda_t) by an
/// ancestral step, evaluates D_1 there, and then takes an ancestral step over the whole from x with
///   (1 - 1 / (2 r)) D + 1 / (2 r) D_1
/// Both noises are cut from one Brownian path, as they must: independent ones would make it first order. Second order
/// in expectations. eta = 0 is `dpmpp_2s`; 1 is the reverse SDE. Steps out of alpha = 0 and into sigma = 0 are
/// single ancestral steps, the latter without noise. Source: Crowson et al., k-diffusion's sample_dpmpp_sde, also
/// diffusers' DPMSolverSDEScheduler, after Lu et al. 2022 (arXiv 2211.01095), algorithm 1.
///
///     [solver]
///     type = "dpmpp_sde"
///     eta = 1.0
///     s_noise = 1.0
///     r = 0.5
#include <retort/plugin.h>

#include "sde.h"

using namespace retort;

class DpmPpSde final : public Solver {
 public:
  explicit DpmPpSde(Params& p)
      : eta_(p.get("eta", 1.0, "share of the noise that is drawn anew; 0: none, the ODE", between(0, 1))),
        s_noise_(p.get("s_noise", 1.0, "factor of the noise; the marginals are kept by 1 alone", at_least(0))),
        r_(p.get("r", 0.5, "where in the step the second evaluation is", {.low = 0, .high = 1, .low_open = true})) {}
  int order() const override { return 2; }
  int evaluations() const override { return 2; }
  bool interior() const override { return true; }
  bool stochastic() const override { return eta_ > 0; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Process& process = step.ode.process();
    const Tensor h = step.to.lambda() - step.from.lambda();
    const Times inner(process, process.time(step.from.lambda() + r_ * h));
    const Tensor data = step.ode.data(x, step.from.t());
    const Tensor within = step.ode.data(to(inner, step, x, data, 0), inner.t());
    return to(step.to, step, x, data + (within - data) / (2 * r_), 1);
  }
  Tensor edge_step(const Step& step, const Tensor& x) const override {
    return to(step.to, step, x, step.ode.data(x, step.from.t()), 1);
  }

 private:
  Tensor to(const Times& end, const Step& step, const Tensor& x, const Tensor& data, int64_t draw) const {
    const Tensor z = stochastic() ? s_noise_ * step.noise.brownian(x, step.from, end, eta_ * eta_, draw) : Tensor();
    return apply(Ancestral(step.from, end, eta_), x, data, z);
  }

  double eta_, s_noise_, r_;
};

RETORT_PLUGIN(DpmPpSde, solver, dpmpp_sde)
