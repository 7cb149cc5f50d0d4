/// DPM-Solver++(2M) SDE: the reverse SDE from one evaluation a step, by reuse of the step before.
///
/// With lambda = log(alpha / sigma), h = lambda_s - lambda_t, H = (1 + eta) h, r = (lambda_t - lambda_1) / h and data
/// predictions D now, D_1 at the step before:
///   x_s = sigma_s / sigma_t e^{-eta h} x + alpha_s (1 - e^{-H}) D + alpha_s c (D - D_1) / r
///         + sigma_s sqrt(1 - e^{-2 eta h}) s_noise z
/// with c = (1 - e^{-H}) / 2 ("midpoint") or 1 - (1 - e^{-H}) / H ("heun"). Second order in expectations. eta = 0 is
/// `dpmpp_2m`; 1 is the reverse SDE. A row's first step, and a step into sigma = 0, have D alone; the latter has no
/// noise. The noise is cut from one Brownian path of each row, so more steps see the same path.
/// Source: Lu et al. 2022 (arXiv 2211.01095), SDE-DPM-Solver++(2M); as k-diffusion's sample_dpmpp_2m_sde.
///
///     [solver]
///     type = "dpmpp_2m_sde"
///     eta = 1.0
///     s_noise = 1.0
///     variant = "midpoint"           # or "heun"
#include "sde_multistep.h"

using namespace retort;

class DpmPp2MSde final : public SdeMultistep {
 public:
  explicit DpmPp2MSde(Params& p)
      : SdeMultistep(2, read_eta(p), read_s_noise(p)),
        midpoint_(p.choice("variant", "midpoint", {"midpoint", "heun"},
                           "the weight of the difference: as D at the step's middle, or exact where D is linear") ==
                  "midpoint") {}

 private:
  void moments(int count, double* m) const override {
    if (count == 2 && midpoint_) {
      m[1] = m[0] / 2;
    }
  }

  bool midpoint_;
};

RETORT_PLUGIN(DpmPp2MSde, solver, dpmpp_2m_sde)
