/// The conformance checks as a doctest case, for a plugin's own tests.
///
///   #include <doctest/doctest.h>
///   #include <retort/doctest.h>
///   RETORT_CHECK_PLUGIN(solver, my_solver)
///   RETORT_CHECK_PLUGIN_WITH(solver, my_solver, {{"order", int64_t{3}}})
///
/// The test links the plugin's objects, as `retort_add_plugin_test` does.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "retort/conformance.h"
#include "retort/plugin.h"

namespace retort::conformance {

using Setting = std::pair<const char*, std::variant<bool, int64_t, double, std::string>>;

/// The plugin that is linked into this program.
inline std::shared_ptr<void> make_linked(const void* stamp, Params& params) {
  const auto* plugin = static_cast<const PluginStamp*>(stamp);
  return {plugin->make(params), plugin->destroy};
}

inline void check_linked(const char* kind, const char* name, const void* stamp, const std::vector<Setting>& settings) {
  Subject subject{kind, name, [=](Params& p) { return make_linked(stamp, p); }, {}};
  for (const auto& [key, value] : settings) {
    std::visit([&, k = key](const auto& v) { subject.params[k].data = v; }, value);
  }
  for (const Property& property : check(subject)) {
    const std::string line = property.name + ": measured " + property.measured + ", expected " + property.expected;
    CHECK_MESSAGE(property.holds, line);
  }
}

}  // namespace retort::conformance

#define RETORT_LINKED_STAMP RETORT_STAMP_NAME(RETORT_SDK_ABI, TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR, 1)
extern "C" const void* RETORT_LINKED_STAMP;

#define RETORT_CHECK_PLUGIN_WITH(plugin_kind, plugin_name, ...)                                      \
  DOCTEST_TEST_CASE(#plugin_kind " " #plugin_name " has every property of its kind") {               \
    retort::conformance::check_linked(#plugin_kind, #plugin_name, RETORT_LINKED_STAMP, __VA_ARGS__); \
  }
#define RETORT_CHECK_PLUGIN(plugin_kind, plugin_name) RETORT_CHECK_PLUGIN_WITH(plugin_kind, plugin_name, {})
