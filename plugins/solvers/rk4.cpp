/// The classical Runge-Kutta method.
///
/// Fourth order, four evaluations a step, in sigma / alpha by default. Steps out of pure noise or into sigma = 0 are
/// DDIM's (Euler's with coordinate = "time"); with coordinate = "angle" there are none such.
/// Source: Kutta 1901; Hairer, Norsett & Wanner 1993, table II.1.2.
///
///     [solver]
///     type = "rk4"
///     coordinate = "sigma"           # or "time", "lambda", "angle"
#include <retort/plugin.h>
#include <retort/runge_kutta.h>

using namespace retort;

class Rk4 final : public RungeKutta {
 public:
  explicit Rk4(Params& p) : RungeKutta(p, tableau("rk4")) {}
};

RETORT_PLUGIN(Rk4, solver, rk4)
