/// DPM-Solver++(3M): third order from one evaluation a step, by reuse of the two steps before.
///
/// With h = lambda_s - lambda_t, r_0 = (lambda_t - lambda_1) / h, r_1 = (lambda_1 - lambda_2) / h and data predictions
/// D_0 (now), D_1, D_2 (steps before):
///   A = (D_0 - D_1) / r_0, B = (D_1 - D_2) / r_1, D' = A + r_0 / (r_0 + r_1) (A - B), D'' = f (A - B) / (r_0 + r_1)
///   x_s = sigma_s / sigma_t x + alpha_s h (phi_1 D_0 + phi_2 D' + phi_3 D''), phi_k at -h
/// D'' is the second derivative for f = 2. DPM-Solver's code, diffusers and k-diffusion have f = 1, with which the
/// method is of second order. Steps out of pure noise and into sigma = 0 are DDIM's. Over few, long steps the
/// polynomial overshoots: on a mixture of Gaussians, from sigma = 80 on Karras's grid, the error falls below that of
/// `dpmpp_2m` at about 20 steps. Source: Lu et al. 2022 (arXiv 2211.01095); the formula is that of its code,
/// `multistep_dpm_solver_third_update`.
///
///     [solver]
///     type = "dpmpp_3m"
///     d2_factor = 2                  # f; 1 is the peers', of order 2
///     second_step = "exact"          # as k-diffusion; or "dpmpp_2m", as DPM-Solver's code and diffusers
///     start = "full"                 # or "ddim", the peers', which holds the order at 2
///     lower_order_final = false      # diffusers lowers the order in the last two steps of fewer than 15
#include "multistep.h"

using namespace retort;

class DpmPp3M final : public Multistep {
 public:
  explicit DpmPp3M(Params& p)
      : Multistep(Integral::data_in_lambda, 3, read_ends(p)),
        factor_(
            p.get("d2_factor", 2.0, "factor of the second difference: 2 makes it the second derivative", at_least(0))),
        exact_second_(p.choice("second_step", "exact", {"exact", "dpmpp_2m"},
                               "a step with one step behind it: phi_2 D', or phi_1 D' / 2 as DPM-Solver++(2M)") ==
                      "exact") {}
  int order() const override { return factor_ == 2 ? Multistep::order() : 2; }

 private:
  void weights(int count, const double* r, const double* m, double* w) const override {
    const double second = count == 2 && !exact_second_ ? m[0] / 2 : m[1];
    solve_moments(count, r, std::array{m[0], second, m[2] * factor_ / 2}.data(), w);
  }

  double factor_;
  bool exact_second_;
};

RETORT_PLUGIN(DpmPp3M, solver, dpmpp_3m)
