/// A factory that returns nothing, made by hand.
#include <retort/plugin.h>
#include <retort/solver.h>

namespace {
void* make(retort::Params&) { return nullptr; }
void destroy(void*) {}
[[maybe_unused]] const retort::PluginStamp stamp{"solver", "", make, destroy};
}  // namespace
BOOST_DLL_ALIAS_SECTIONED(make, retort_plugin__solver__returns_null, retort)
BOOST_DLL_ALIAS_SECTIONED(stamp, RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
