/// iPNDM with variable steps: the weights of Adams and Bashforth in rho = sigma / alpha for the lengths at hand.
///
/// Between equal steps of rho it is `ipndm`; it always is `lms`, whose page has the formula, under the name that
/// diff-sampler and ComfyUI have for it. Their closed forms agree with it at order 2. At order 3 they lack a bracket,
/// so that the weights are right between equal steps alone. At order 4 they also have a sign and an index wrong: the
/// weights are not those of Adams and Bashforth between equal steps, and do not sum to 1 between others.
/// Source: Zhang & Chen 2022 (arXiv 2204.13902), iPNDM; diff-sampler's `ipndm_v_sampler`.
///
///     [solver]
///     type = "ipndm_v"
///     order = 3                      # 1 to 4
///     start = "full"                 # or "ddim", the peers', which holds the order at 2
#include "multistep.h"

using namespace retort;

class IpndmV final : public Multistep {
 public:
  explicit IpndmV(Params& p) : Multistep(p, Integral::noise_in_sigma, 3) {}
};

RETORT_PLUGIN(IpndmV, solver, ipndm_v)
