/// DEIS: the noise prediction as a polynomial through its last values, integrated exactly. Order 1 to 4, one evaluation
/// a step.
///
/// With rho = sigma / alpha, x_s = alpha_s / alpha_t x + alpha_s sum_j C_j eps_j, C_j the integral over rho from rho_t
/// to rho_s of Lagrange's polynomial in log(rho), or in rho. In log(rho) the integrals are phi functions. Order 1 is
/// DDIM, which also is the step out of pure noise. Early steps have fewer values: `start` says how they are taken; the
/// peers' is DDIM's. At order 4 a full start costs two evaluations more, once per row.
/// Source: Zhang & Chen 2022 (arXiv 2204.13902), rhoAB-DEIS; log(rho) is the choice of diffusers.
///
///     [solver]
///     type = "deis"
///     order = 3                      # 1 to 4
///     variable = "log_rho"           # or "rho"
///     start = "full"                 # or "ddim", the peers', which holds the order at 2
///     lower_order_final = false      # diffusers lowers the order in the last two steps of fewer than 15
#include "multistep.h"

using namespace retort;

class Deis final : public Multistep {
 public:
  explicit Deis(Params& p)
      : Multistep(p,
                  p.choice("variable", "log_rho", {"log_rho", "rho"}, "in what the polynomial is one") == "rho"
                      ? Integral::noise_in_sigma
                      : Integral::noise_in_lambda,
                  3) {}
};

RETORT_PLUGIN(Deis, solver, deis)
