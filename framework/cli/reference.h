/// The reference in Markdown, from what plugins say of themselves.
#pragma once

#include <string>
#include <vector>

#include "plugin/registry.h"

namespace retort {

/// One page for one kind of plugin, or for the host's tables (kind "table").
std::string reference_page(const std::string& kind, const std::vector<PluginDescription>& descriptions);

}  // namespace retort
