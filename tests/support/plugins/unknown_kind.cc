/// A plugin of a kind that the host does not know.
#include <retort/plugin.h>

namespace {
void* make(retort::Params&) { return nullptr; }
void destroy(void*) {}
[[maybe_unused]] const retort::PluginStamp stamp{"solver", "", make, destroy};
}  // namespace
BOOST_DLL_ALIAS_SECTIONED(make, retort_plugin__oracle__unknown_kind, retort)
BOOST_DLL_ALIAS_SECTIONED(stamp, RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
