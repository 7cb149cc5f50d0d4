/// A plugin with an endless name.
#include <retort/plugin.h>
#include <retort/solver.h>

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define A8 abcdefgh
#define A64 JOIN(JOIN(JOIN(A8, A8), JOIN(A8, A8)), JOIN(JOIN(A8, A8), JOIN(A8, A8)))
#define A512 JOIN(JOIN(JOIN(A64, A64), JOIN(A64, A64)), JOIN(JOIN(A64, A64), JOIN(A64, A64)))
#define A4096 JOIN(JOIN(JOIN(A512, A512), JOIN(A512, A512)), JOIN(JOIN(A512, A512), JOIN(A512, A512)))

namespace {
void* make(retort::Params&) { return nullptr; }
void destroy(void*) {}
[[maybe_unused]] const retort::PluginStamp stamp{"solver", "", make, destroy};
}  // namespace
BOOST_DLL_ALIAS_SECTIONED(make, JOIN(retort_plugin__solver__, A4096), retort)
BOOST_DLL_ALIAS_SECTIONED(stamp, RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
