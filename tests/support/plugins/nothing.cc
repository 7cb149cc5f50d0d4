/// A solver that does nothing, to measure what a call costs.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

class Nothing final : public Solver {
 public:
  explicit Nothing(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 0; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(Nothing, solver, nothing)
