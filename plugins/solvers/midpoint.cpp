/// The explicit midpoint method.
///
/// Second order, two evaluations a step, in sigma / alpha by default. Steps out of pure noise or into sigma = 0 are
/// DDIM's (Euler's with coordinate = "time"); with coordinate = "angle" there are none such.
/// Source: Runge 1895; Karras et al. 2022, algorithm 3 with alpha = 1/2.
///
///     [solver]
///     type = "midpoint"
///     coordinate = "sigma"           # or "time", "lambda", "angle"
#include <retort/plugin.h>
#include <retort/runge_kutta.h>

using namespace retort;

class Midpoint final : public RungeKutta {
 public:
  explicit Midpoint(Params& p) : RungeKutta(p, tableau("midpoint")) {}
};

RETORT_PLUGIN(Midpoint, solver, midpoint)
