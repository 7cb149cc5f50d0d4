/// A first configuration of one's own: `retort init`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "plugin/registry.h"

namespace retort {

struct InitRequest {
  std::string pictures;  // a folder or an archive; empty: an example in two dimensions
  std::string teacher;   // a folder of diffusers, a checkpoint, or a configuration; empty: one is trained
  std::string loss;      // empty: the usual one
  std::string out = "my.toml";
  int64_t size = 0;  // of the pictures; 0: the teacher's, or 32
};

/// What was written: the configuration, and that of its teacher where one has to be trained.
struct InitFiles {
  std::filesystem::path config, teacher;
};

/// Writes them, and checks that they can be run, by building all of their parts. Where that fails, throws RequestError
/// and leaves nothing behind. Files that are there already are not touched.
InitFiles write_first_configuration(const InitRequest& request, Registry& registry);

}  // namespace retort
