/// A solver that exports itself as a loss.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

class ForgedKind final : public Solver {
 public:
  explicit ForgedKind(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

namespace {
void* make(Params& p) { return static_cast<Solver*>(new ForgedKind(p)); }
void destroy(void* object) { delete static_cast<Solver*>(object); }
[[maybe_unused]] const PluginStamp stamp{Solver::kind, "", make, destroy};
}  // namespace
BOOST_DLL_ALIAS_SECTIONED(make, retort_plugin__loss__forged_kind, retort)
BOOST_DLL_ALIAS_SECTIONED(stamp, RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
