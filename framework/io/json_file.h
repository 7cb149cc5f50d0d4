/// JSON that lies in a file of its own.
#pragma once

#include <filesystem>

#include "io/json.h"

namespace retort {

/// What a file holds: null where it is not there, discarded (no object either) where it is damaged.
Json read_json(const std::filesystem::path& file);

}  // namespace retort
