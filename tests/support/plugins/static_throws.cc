/// A plugin whose static constructor throws.
#include <retort/plugin.h>
#include <retort/solver.h>

#include <stdexcept>

using namespace retort;

namespace {
struct Early {
  Early() { throw std::runtime_error("too early"); }
};
const Early early;
}  // namespace

class StaticThrows final : public Solver {
 public:
  explicit StaticThrows(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(StaticThrows, solver, static_throws)
