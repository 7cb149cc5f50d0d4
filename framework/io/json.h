/// JSON for results, checkpoints and `--json`.
#pragma once

#include <nlohmann/json.hpp>

#include "retort/value.h"

namespace retort {

using Json = nlohmann::ordered_json;

/// The text of JSON, on one line or indented. Bytes that are no UTF-8, as names of files may hold, are replaced.
std::string spell(const Json& json, int indent = -1);

Json to_json(const Value& value);
/// `origin` is the file that errors about the value shall name.
Value from_json(const Json& json, const std::string& origin);

}  // namespace retort
