/// RES, two steps: the exponential integrator that refines a step by the step before. Second order, one evaluation.
///
/// With h = lambda_s - lambda_t, c_2 = -h_previous / h and data predictions D_0 (now) and D_1 (the step before):
///   x_s = sigma_s / sigma_t x + alpha_s h ((phi_1 - phi_2 / c_2) D_0 + phi_2 / c_2 D_1), phi_k at -h
/// A row's first step, and steps out of pure noise and into sigma = 0, are DDIM's. DPM-Solver++(2M) has phi_1 / 2 in
/// the place of phi_2, which differs for long steps.
/// Source: Zhang et al. 2023 (arXiv 2308.02157), its multistep scheme; ComfyUI's `res_multistep` without noise.
///
///     [solver]
///     type = "res_2m"
#include "multistep.h"

using namespace retort;

class Res2M final : public Multistep {
 public:
  explicit Res2M(Params&) : Multistep(Integral::data_in_lambda, 2) {}
};

RETORT_PLUGIN(Res2M, solver, res_2m)
