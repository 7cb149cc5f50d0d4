/// TOML to `Value`, and back.
#pragma once

#include <string>
#include <vector>

#include "retort/error.h"
#include "retort/value.h"

namespace retort {

/// Reads a file. Throws RequestError with file, line and column on anything that is no TOML.
Value read_toml(const std::string& path);

/// Reads a configuration. With a first line `extends = "OTHER.toml"` it holds what that one holds, less its [sweep],
/// and its own keys on top; a table that names another type takes the place of the other's whole table.
Value read_config(const std::string& path);

/// Parses text that is said to stand in `file`.
Value parse_toml(const std::string& text, const std::string& file);

/// Applies `key=value`: a dotted path and a TOML value, a bare word counting as a string.
void apply_override(Value& root, const std::string& assignment);

/// The value at a dotted path, or nullptr.
const Value* at_path(const Value& root, const std::string& path);
void set_path(Value& root, const std::string& path, Value value);

/// A document of tables, in order.
std::string write_toml(const Value& root);

}  // namespace retort
