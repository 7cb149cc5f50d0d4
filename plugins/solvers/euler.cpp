/// Euler's method in the process's own time: x_s = x_t + (s - t) dx/dt.
///
/// First order, one evaluation a step. On a variance-exploding process it is the same as `ddim`; on `vp_scaled_linear`
/// it is the Euler solver of Direct CM's code, whose drift uses the discrete betas.
/// Source: Karras et al. 2022, eq. 4; Vouitsis et al. 2024 (arXiv 2411.08954), EulerSolver.
///
///     [solver]
///     type = "euler"
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

class Euler final : public Solver {
 public:
  explicit Euler(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Tensor &t = step.from.t(), &s = step.to.t();
    return combine({{at::ones_like(t), x}, {s - t, step.ode.velocity(x, t)}});
  }
};

RETORT_PLUGIN(Euler, solver, euler)
