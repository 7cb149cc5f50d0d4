/// A plugin whose constructor fails.
#include <retort/plugin.h>
#include <retort/solver.h>

#include <stdexcept>

using namespace retort;

class Throws final : public Solver {
 public:
  explicit Throws(Params&) { throw std::logic_error("no such luck\nand more lines"); }
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(Throws, solver, throws)
