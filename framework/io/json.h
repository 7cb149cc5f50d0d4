/// JSON for results, checkpoints and `--json`.
#pragma once

#include <nlohmann/json.hpp>

#include "retort/value.h"

namespace retort {

using Json = nlohmann::ordered_json;

Json to_json(const Value& value);
/// `origin` is the file that errors about the value shall name.
Value from_json(const Json& json, const std::string& origin);

}  // namespace retort
