/// Exponential Adams-Bashforth: order 1 to 4 from one evaluation a step, exact for polynomials in log-SNR.
///
/// The data prediction is the polynomial in lambda = log(alpha / sigma) through its last `order` values, and its
/// integral is exact by phi functions, whatever the steps' lengths. Steps out of pure noise and into sigma = 0 are
/// DDIM's. Early steps have fewer values: `start` says how they are taken. At order 4 a full start costs two
/// evaluations more, once per row.
/// Source: Norsett 1969; Hochbruck & Ostermann 2010 (Acta Numerica 19), section 2.5. Order 3 is the predictor UniP-3 of
/// Zhao et al. 2023 (arXiv 2302.04867).
///
///     [solver]
///     type = "adams_bashforth_norsett"
///     order = 3                      # 1 to 4
///     start = "full"                 # or "ddim", the peers', which holds the order at 2
#include "multistep.h"

using namespace retort;

class AdamsBashforthNorsett final : public Multistep {
 public:
  explicit AdamsBashforthNorsett(Params& p) : Multistep(p, Integral::data_in_lambda, 3) {}
};

RETORT_PLUGIN(AdamsBashforthNorsett, solver, adams_bashforth_norsett)
