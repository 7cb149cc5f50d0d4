/// Checkpoints: safetensors files whose metadata hold the model's configuration.
#pragma once

#include <memory>
#include <string>

#include "retort/host.h"

namespace retort {

/// Throws RequestError where the file is missing, damaged, or no checkpoint.
Checkpoint read_checkpoint(const std::string& path);

/// The network of a checkpoint with its weights, for evaluation; not yet placed on a backend.
std::shared_ptr<Network> build_network(Host& host, const Checkpoint& checkpoint, const std::string& path);

}  // namespace retort
