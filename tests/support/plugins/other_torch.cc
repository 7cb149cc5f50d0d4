/// A plugin that was built with LibTorch 1.13.
#include <retort/plugin.h>
#include <retort/solver.h>

#undef TORCH_VERSION_MAJOR
#undef TORCH_VERSION_MINOR
#define TORCH_VERSION_MAJOR 1
#define TORCH_VERSION_MINOR 13

using namespace retort;

class OtherTorch final : public Solver {
 public:
  explicit OtherTorch(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(OtherTorch, solver, other_torch)
