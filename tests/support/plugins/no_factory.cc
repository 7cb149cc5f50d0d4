/// A stamp without a factory.
#include <retort/plugin.h>

namespace {
void destroy(void*) {}
[[maybe_unused]] const retort::PluginStamp stamp{"solver", "", nullptr, destroy};
}  // namespace
BOOST_DLL_ALIAS_SECTIONED(stamp, RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1), retort)
