/// Ralston's method, of the least error bound among those of order 2.
///
/// Second order, two evaluations a step, in sigma / alpha by default. Steps out of pure noise or into sigma = 0 are
/// DDIM's (Euler's with coordinate = "time"); with coordinate = "angle" there are none such.
/// Source: Ralston 1962 (Math. Comp. 16); Karras et al. 2022, algorithm 3 with alpha = 2/3.
///
///     [solver]
///     type = "ralston"
///     coordinate = "sigma"           # or "time", "lambda", "angle"
#include <retort/plugin.h>
#include <retort/runge_kutta.h>

using namespace retort;

class Ralston final : public RungeKutta {
 public:
  explicit Ralston(Params& p) : RungeKutta(p, tableau("ralston")) {}
};

RETORT_PLUGIN(Ralston, solver, ralston)
