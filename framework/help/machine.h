/// The machine that the program runs on, as the system tells.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

namespace retort {

struct Machine {
  std::string model;               // of the processor
  std::set<std::string> features;  // as /proc/cpuinfo spells them
  int cores = 1;                   // that this process may use
  double quota = 0;                // cores' worth of time that its container may take; 0: no limit
  double free_memory = 0;          // GiB

  bool has(const std::string& feature) const { return features.contains(feature); }
};

Machine this_machine();

/// The most memory that this process has held so far, in bytes: what the system counts as resident, mapped files with
/// it.
int64_t peak_memory();

struct FolderSize {
  int64_t files = 0, bytes = 0;
};
/// Of all files below a folder; nothing where it is not there.
FolderSize folder_size(const std::filesystem::path& folder);

}  // namespace retort
