/// DPM-Solver++(3M) SDE: the reverse SDE from one evaluation a step, by reuse of the two steps before.
///
/// With the letters of `dpmpp_2m_sde`, r_0 = (lambda_t - lambda_1) / h, r_1 = (lambda_1 - lambda_2) / h and
///   A = (D_0 - D_1) / r_0, B = (D_1 - D_2) / r_1, D' = A + r_0 / (r_0 + r_1) (A - B), D'' = f (A - B) / (r_0 + r_1)
///   x_s = sigma_s / sigma_t e^{-eta h} x + alpha_s H (phi_1 D_0 + phi_2 D' + phi_3 D'')
///         + sigma_s sqrt(1 - e^{-2 eta h}) s_noise z, phi_k at -H
/// D'' is the second derivative for f = 2; k-diffusion has f = 1. The mean of linear problems is then of order 3, but
/// for the first step; the variance stays at order 2, which is that of expectations. eta = 0 is `dpmpp_3m` with start =
/// "ddim". diffusers' third order of "sde-dpmsolver++" has -1/2 where phi_3 needs +1/2, which makes it first order.
/// Source: Lu et al. 2022 (arXiv 2211.01095); Crowson et al., k-diffusion's sample_dpmpp_3m_sde.
///
///     [solver]
///     type = "dpmpp_3m_sde"
///     eta = 1.0
///     s_noise = 1.0
///     d2_factor = 2                  # f; 1 is the peer's
#include "sde_multistep.h"

using namespace retort;

class DpmPp3MSde final : public SdeMultistep {
 public:
  explicit DpmPp3MSde(Params& p)
      : SdeMultistep(3, read_eta(p), read_s_noise(p)),
        factor_(p.get("d2_factor", 2.0, "factor of the second difference: 2 makes it the second derivative",
                      at_least(0))) {}

 private:
  void moments(int count, double* m) const override {
    if (count == 3) {
      m[2] *= factor_ / 2;
    }
  }

  double factor_;
};

RETORT_PLUGIN(DpmPp3MSde, solver, dpmpp_3m_sde)
