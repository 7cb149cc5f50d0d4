/// Configurations laid over one another: `extends`, and what is set later. Where a layer changes a table's `type`, the
/// keys that were given beside the old type are marked as left over: the new type takes those that it knows.
#pragma once

#include <string>

#include "retort/value.h"

namespace retort {

/// Reads a configuration. With a first line `extends = "OTHER.toml"` it holds what that one holds, less its [sweep],
/// and its own keys on top.
Value read_config(const std::string& path);

/// One `key=value` of a command line.
struct Override {
  std::string key;  // in the spelling of join_key
  Value value;
};

/// Reads `key=value`: the first `=` outside quotes divides; a value that is no TOML is a string. Throws RequestError.
Override read_override(const std::string& assignment);

/// Whether a text is UTF-8, as all that is written must be.
bool is_utf8(const std::string& text);

/// Sets a key, minding swaps of a table's type.
void lay(Value& root, const std::string& key, Value value);

/// Reads and sets one.
void apply_override(Value& root, const std::string& assignment);

}  // namespace retort
