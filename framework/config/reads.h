/// Whether a place that is to be written is one that a configuration reads.
#pragma once

#include <filesystem>
#include <string>

#include "retort/value.h"

namespace retort {

/// The one name of a place: absolute, through links, without "." and a last slash.
std::filesystem::path settled(const std::filesystem::path& path);
/// Whether a path is another, or lies in it, whatever names they are called by.
bool lies_in(const std::filesystem::path& path, const std::filesystem::path& folder);

/// A file or folder that a value of a configuration names and that lies at, in or around a place: the key that names
/// it, behind `key`. Else empty.
std::string key_that_reads(const Value& value, const std::string& key, const std::filesystem::path& place);

}  // namespace retort
