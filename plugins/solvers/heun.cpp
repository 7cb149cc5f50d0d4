/// Heun's method: an Euler predictor and a trapezoidal corrector.
///
/// Second order, two evaluations a step. By default it steps in sigma / alpha, as EDM's sampler does; with
/// variable = "time" it steps in the process's own time, as Direct CM's code does on `vp_scaled_linear`
/// (whose last corrector, at sigma = 0, needs final_step = "heun").
/// Source: Karras et al. 2022, algorithm 1; Vouitsis et al. 2024 (arXiv 2411.08954), HeunSolver.
///
///     [solver]
///     type = "heun"
///     variable = "sigma"             # or "time", "lambda", "angle"
///     final_step = "euler"           # or "heun", with variable = "time"
#include <retort/plugin.h>
#include <retort/runge_kutta.h>

using namespace retort;

class Heun final : public RungeKutta {
 public:
  explicit Heun(Params& p)
      : RungeKutta(p, tableau("heun"), "variable"),
        correct_last_(p.choice("final_step", "euler", {"euler", "heun"},
                               "the step into sigma = 0; \"heun\" evaluates the corrector at the least time at which "
                               "the drift is finite, and needs variable = \"time\"") == "heun") {
    if (correct_last_ && coordinate() != Coordinate::time) {
      throw p.error("final_step",
                    "'heun' needs variable = \"time\": in sigma / alpha the corrector at sigma = 0 is undefined");
    }
  }
  bool interior() const override { return !correct_last_ && RungeKutta::interior(); }

 private:
  bool correct_last_;
};

RETORT_PLUGIN(Heun, solver, heun)
