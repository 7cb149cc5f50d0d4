/// A second plugin with the toy's class name and helper: the two must not collide.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

double helper() { return 2; }

class Toy final : public Solver {
 public:
  explicit Toy(Params&) {}
  int order() const override { return 7; }
  int evaluations() const override { return static_cast<int>(helper()); }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(Toy, solver, twin)
