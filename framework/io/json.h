/// JSON for results, checkpoints and `--json`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "retort/value.h"

namespace retort {

using Json = nlohmann::ordered_json;

/// The text of JSON, on one line or indented. Bytes that are no UTF-8, as names of files may hold, are replaced.
std::string spell(const Json& json, int indent = -1);
/// A text whose bytes that are no UTF-8 are replaced.
std::string valid_utf8(const std::string& text);

/// The value at a key, null where there is none or `object` is no object; and the same as a text or number, empty or 0
/// where it is none.
const Json& json_at(const Json& object, const std::string& key);
std::string text_at(const Json& object, const std::string& key);
int64_t integer_at(const Json& object, const std::string& key);
double number_at(const Json& object, const std::string& key);
/// Appends the keys of an object that `names` does not hold yet, in their own order.
void add_keys(const Json& object, std::vector<std::string>& names);

Json to_json(const Value& value);
/// `origin` is the file that errors about the value shall name.
Value from_json(const Json& json, const std::string& origin);

}  // namespace retort
