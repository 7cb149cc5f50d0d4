/// A factory by hand that takes something else than Params.
#include <retort/plugin.h>

namespace {
double make_of_double(double x) { return x; }
void* make(retort::Params&) { return nullptr; }
void destroy(void*) {}
[[maybe_unused]] const retort::PluginStamp stamp{"solver", "", make, destroy};
}  // namespace
BOOST_DLL_ALIAS_SECTIONED(make_of_double, retort_plugin__solver__wrong_signature, retort)
BOOST_DLL_ALIAS_SECTIONED(stamp, RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
