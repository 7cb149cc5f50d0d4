/// Files of Debian's packages, where those are unpacked in place of installed (`./retort setup --without-root`).
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

namespace retort {

/// `path`, or, where nothing is there, the same below the folder that RETORT_PACKAGES names, if that has it.
inline std::string debian_file(const std::string& path) {
  std::error_code none;
  const char* const unpacked = std::getenv("RETORT_PACKAGES");
  const std::string elsewhere = unpacked != nullptr ? unpacked + path : path;
  return !std::filesystem::exists(path, none) && std::filesystem::exists(elsewhere, none) ? elsewhere : path;
}

}  // namespace retort
