/// DDIM without noise: Euler's method in sigma / alpha.
///
/// First order, one evaluation a step; exact where the teacher's data prediction does not change over the step. It is
/// also DPM-Solver-1 and DPM-Solver++(1).
/// Source: Song et al. 2021 (arXiv 2010.02502), eq. 12 with eta = 0.
///
///     [solver]
///     type = "ddim"
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

class Ddim final : public Solver {
 public:
  explicit Ddim(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }

  Tensor step(const Step& step, const Tensor& x) const override {
    return ddim_step(step.from, step.to, x, step.ode.data(x, step.from.t()));
  }
};

RETORT_PLUGIN(Ddim, solver, ddim)
