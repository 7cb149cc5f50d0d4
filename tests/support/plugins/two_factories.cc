/// Two plugins in one library.
#include <retort/plugin.h>
#include <retort/solver.h>

using namespace retort;

class Twice final : public Solver {
 public:
  explicit Twice(Params&) {}
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

RETORT_PLUGIN(Twice, solver, first_of_two)
BOOST_DLL_ALIAS_SECTIONED(retort_plugin_make, retort_plugin__solver__second_of_two, retort)
