/// Reads what a plugin says of itself from the file, without running any of its code.
#pragma once

#include <string>
#include <vector>

namespace retort {

/// The symbols of the ELF section "retort" of a shared library. Throws RequestError with one line on what the file is
/// instead, whatever its bytes are.
std::vector<std::string> plugin_symbols(const std::string& path);

/// The page of a plugin, its source's opening comment, read from the file in the same way. Empty where it cannot be
/// read so.
std::string plugin_about(const std::string& path);
/// Where it stands in a PluginStamp, whose header would need LibTorch here.
inline constexpr unsigned place_of_about = sizeof(void*);

}  // namespace retort
