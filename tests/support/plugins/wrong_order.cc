/// Euler's method that declares order 2: what `retort check` is for.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

class WrongOrder final : public Solver {
 public:
  explicit WrongOrder(Params&) {}
  int order() const override { return 2; }
  int evaluations() const override { return 1; }
  Tensor step(const Step& step, const Tensor& x) const override {
    return x + rows(step.to.t() - step.from.t(), x) * step.ode.velocity(x, step.from.t());
  }
};

RETORT_PLUGIN(WrongOrder, solver, wrong_order)
