/// The conformance checks on plugins of a registry.
#pragma once

#include "plugin/registry.h"
#include "retort/conformance.h"

namespace retort {

/// `params` is the plugin's table without its type. Other plugins and checkpoints that it asks for come from the
/// registry and from files.
std::vector<conformance::Property> check_plugin(const Registry& registry, const PluginFile& file, const Value& params);

}  // namespace retort
