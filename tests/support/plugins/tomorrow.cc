/// A plugin built for an SDK of tomorrow.
#include <retort/plugin.h>
#include <retort/solver.h>

#undef RETORT_SDK_ABI
#define RETORT_SDK_ABI 999

using namespace retort;

class Tomorrow final : public Solver {
 public:
  explicit Tomorrow(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(Tomorrow, solver, tomorrow)
