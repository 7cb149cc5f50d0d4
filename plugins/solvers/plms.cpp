/// PLMS, the pseudo linear multistep method of PNDM: `ipndm` behind a corrected first step. One evaluation a step.
///
/// With y = x / alpha and rho = sigma / alpha, y_s = y_t + (rho_s - rho_t) sum_j w_j eps_j, w = (3, -1) / 2, (23, -16,
/// 5) / 12, then (55, -59, 37, -9) / 24. A row's first step is the improved method of Euler: DDIM's to the end, and
/// again with the mean of the noise predictions at both ends. The weights hold for equal steps of rho, so the order is
/// 2 at most on other grids whose steps change slowly, and 1 where they change by a factor: `lms` has the weights for
/// those.
/// Source: Liu et al. 2022 (arXiv 2202.09778), its linear multistep part; the first step is that of latent diffusion's
/// code and of diffusers with `skip_prk_steps`, where PNDM has three of four evaluations each.
///
///     [solver]
///     type = "plms"
///     start = "corrected"            # the next step takes over the evaluation at the predicted end; or
///                                    # "improved_euler", the peers', which evaluates there once more, once per row
#include "multistep.h"

using namespace retort;

class Plms final : public Multistep {
 public:
  explicit Plms(Params& p)
      : Multistep(
            Integral::noise_in_sigma, most_values,
            CorrectFirst{
                p.choice("start", "corrected", {"corrected", "improved_euler"},
                         "whether the evaluation at the predicted end of the first step serves the next, or is made "
                         "anew") == "corrected"}) {}
  int order() const override { return 2; }

 private:
  void weights(int count, const double*, const double*, double* w) const override { adams_bashforth(count, w); }
};

RETORT_PLUGIN(Plms, solver, plms)
