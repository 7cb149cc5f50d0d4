/// A plugin with a library of its own, found beside it.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

extern "C" int leaned_on();

class Leans final : public Solver {
 public:
  explicit Leans(Params&) {}
  int order() const override { return leaned_on(); }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(Leans, solver, leans)
