/// A plugin that calls what no library has.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

double nobody_defines_this(double);

class Undefined final : public Solver {
 public:
  explicit Undefined(Params&) : value_(nobody_defines_this(1)) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x * value_; }

 private:
  double value_;
};

RETORT_PLUGIN(Undefined, solver, undefined)
