/// Checkpoints: safetensors files whose metadata hold the model's configuration.
#pragma once

#include <memory>
#include <string>

#include "retort/host.h"
#include "retort/loss.h"

namespace retort {

/// "denoiser", "consistency model", …: what a checkpoint is of, as files say it.
const char* name_of(Makes makes);

/// Throws RequestError where the file is missing, damaged, or no checkpoint. A low-rank adapter is read with the
/// checkpoint that it changes, and comes out merged; that one is looked for where the adapter's file says, then among
/// `bases`.
Checkpoint read_checkpoint(const std::string& path, const std::vector<std::string>& bases = {});

/// Its configuration alone.
Value read_checkpoint_config(const std::string& path);

/// The network of a checkpoint with its weights, for evaluation; not yet placed on a backend. `more` are
/// inputs that it is to take besides, whether the checkpoint has weights for them or not. With more `outputs` than it
/// was built for (`ModelSpec::outputs`), each of them begins as its one.
std::shared_ptr<Network> build_network(Host& host, const Checkpoint& checkpoint, const std::string& path,
                                       const std::vector<Input>& more = {}, int64_t outputs = 1);

}  // namespace retort
