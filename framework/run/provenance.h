/// Which libraries a run used: recorded in plugins.json, and held to by `run --frozen`.
#pragma once

#include <filesystem>

#include "io/json.h"
#include "plugin/registry.h"

namespace retort {

/// Writes plugins.json in the run's folder: kind, name, path and SHA-256 of each plugin loaded so far, path and
/// SHA-256 of every other library in the process. Warns where an earlier call recorded other plugins. Returns what is
/// recorded; a frozen run leaves the file as it is.
Json write_provenance(const std::filesystem::path& folder, bool frozen);

/// Holds the registry, and the libraries already loaded, to plugins.json beside the configuration or in the run's
/// folder. Throws RequestError where there is none, or where a library differs.
void freeze(Registry& registry, const std::filesystem::path& config, const std::filesystem::path& folder);

}  // namespace retort
