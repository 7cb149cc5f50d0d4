/// The linear multistep method of Adams and Bashforth in rho = sigma / alpha, order 1 to 4, one evaluation a step.
///
/// With y = x / alpha the ODE is dy/drho = eps. The noise prediction is replaced by the polynomial in rho through its
/// last values, and integrated exactly whatever the steps' lengths. Steps out of pure noise are DDIM's. Early steps
/// have fewer values: `start` says how they are taken; the peers' is Euler's. At order 4 a full start costs two
/// evaluations more, once per row. Source: Adams & Bashforth 1883; as sampler in k-diffusion's `sample_lms`. It also is
/// rho AB-DEIS of Zhang & Chen 2022 (arXiv 2204.13902).
///
///     [solver]
///     type = "lms"
///     order = 3                      # 1 to 4
///     start = "full"                 # or "ddim", the peers', which holds the order at 2
#include "multistep.h"

using namespace retort;

class Lms final : public Multistep {
 public:
  explicit Lms(Params& p) : Multistep(p, Integral::noise_in_sigma, 3) {}
};

RETORT_PLUGIN(Lms, solver, lms)
