/// Reads the names in a plugin's stamp from the file, without running any of its code.
#pragma once

#include <string>
#include <vector>

namespace retort {

/// The symbols of the ELF section "retort" of a shared library. Throws RequestError with one line on what the file is
/// instead, whatever its bytes are.
std::vector<std::string> plugin_symbols(const std::string& path);

}  // namespace retort
