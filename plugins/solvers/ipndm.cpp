/// iPNDM: DDIM's step along the mean noise prediction by the fixed weights of Adams and Bashforth. One evaluation a
/// step.
///
/// With y = x / alpha and rho = sigma / alpha, y_s = y_t + (rho_s - rho_t) sum_j w_j eps_j, w = (1), (3, -1) / 2,
/// (23, -16, 5) / 12 and (55, -59, 37, -9) / 24. The weights hold for equal steps of rho. On other grids whose steps
/// change slowly the order is 2 at most, and where they change by a factor it is 1: `lms` has the weights for those.
/// Early steps have fewer values, from DDIM on.
/// Source: Liu et al. 2022 (arXiv 2202.09778), its linear multistep part, without the Runge-Kutta start: Zhang & Chen
/// 2022 (arXiv 2204.13902), iPNDM.
///
///     [solver]
///     type = "ipndm"
///     order = 4                      # how many predictions are averaged: 1 to 4
#include "multistep.h"

using namespace retort;

class Ipndm final : public Multistep {
 public:
  explicit Ipndm(Params& p)
      : Multistep(Integral::noise_in_sigma, read_order(p, 4, "how many predictions are averaged")) {}

 private:
  void weights(int count, const double*, const double*, double* w) const override { adams_bashforth(count, w); }
};

RETORT_PLUGIN(Ipndm, solver, ipndm)
