/// TOML to `Value`, and back.
#pragma once

#include <string>
#include <vector>

#include "retort/error.h"
#include "retort/value.h"

namespace retort {

/// Reads a file. Throws RequestError with file, line and column on anything that is no TOML.
Value read_toml(const std::string& path);

/// Parses text that is said to stand in `file`.
Value parse_toml(const std::string& text, const std::string& file);

/// The value at a key (of `split_key`'s grammar), or nullptr.
const Value* at_path(const Value& root, const std::string& path);
Value* at_path(Value& root, const std::string& path);
void set_path(Value& root, const std::string& path, Value value);

/// A document of tables, in order.
std::string write_toml(const Value& root);

}  // namespace retort
