/// Dormand-Prince 5(4) with a step size for each sample: the reference that other solvers are held against.
///
/// The steps between two grid times adapt until the estimated error of each is below atol + rtol |z|, z the scaled
/// state x / sqrt(alpha^2 + sigma^2); rows that have arrived cost nothing. It goes over the angle a = atan2(sigma,
/// alpha), where the ODE reads dz/da = cos(a) eps - sin(a) D and stays finite from alpha = 0 to sigma = 0. Other pairs:
/// `runge_kutta` with adaptive = true. Source: Dormand & Prince 1980; Hairer, Norsett & Wanner 1993, II.4 (step-size
/// control).
///
///     [solver]
///     type = "rk45"
///     rtol = 1e-6
///     atol = 1e-6
#include <retort/plugin.h>

#include "adaptive.h"

using namespace retort;

class Rk45 final : public Solver {
 public:
  explicit Rk45(Params& p) : adaptive_(p, tableau("dormand_prince_5")) {}
  int order() const override { return 5; }
  int evaluations() const override { return 0; }
  Tensor step(const Step& step, const Tensor& x) const override { return adaptive_.run(step, x); }

 private:
  Adaptive adaptive_;
};

RETORT_PLUGIN(Rk45, solver, rk45)
