/// Keys that had another name once. The old name works still, and is named in a warning.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "retort/value.h"

namespace retort {

/// All of them: the old name, and that of today.
std::span<const std::pair<const char*, const char*>> old_keys();

/// The name of today of a dotted key; other keys stay as they are. Warns, once, of an old one that is written at `at`.
std::string present_key(const std::string& key, const Origin& at);

/// The same for the keys of the table that stands at `path` ("" for a whole configuration), and of those within.
/// Throws RequestError where a key is given by both names.
void rename_old_keys(Value& table, const std::string& path = "");

}  // namespace retort
