/// Checkpoints: safetensors files whose metadata hold the model's configuration.
#pragma once

#include <memory>
#include <string>

#include "retort/host.h"
#include "retort/loss.h"

namespace retort {

class Registry;

/// "denoiser", "consistency model", …: what a checkpoint is of, as files say it.
const char* name_of(Makes makes);

/// Throws RequestError where the file is missing, damaged, or no checkpoint. A low-rank adapter is read with the
/// checkpoint that it changes, and comes out merged; that one is looked for where the adapter's file says, then among
/// `bases`. A folder that diffusers saved is a checkpoint too (io/diffusers_request.h says how it may be spelled); its
/// network is looked for in `registry`, or, where that is null, in the tree that this code runs from. An adapter's
/// change counts `adapter_scale` times.
Checkpoint read_checkpoint(const std::string& path, const std::vector<std::string>& bases = {},
                           const Registry* registry = nullptr, double adapter_scale = 1);

/// Its configuration alone.
Value read_checkpoint_config(const std::string& path, const Registry* registry = nullptr);

/// What a checkpoint is, in a few lines: its network, what it is given, its process and what it predicts.
std::string describe_checkpoint(const std::string& path, const Registry& registry);

/// Whether a network's weights are copies of a checkpoint's, in the network's own type, or, where that file is mapped,
/// its bytes where they lie, in the file's type until a backend places them.
enum class FileWeights { copied, in_place };

/// The network of a checkpoint with its weights, for evaluation; not yet placed on a backend. `more` are
/// inputs that it is to take besides, whether the checkpoint has weights for them or not. With more `outputs` than it
/// was built for (`ModelSpec::outputs`), each of them begins as its one.
std::shared_ptr<Network> build_network(Host& host, const Checkpoint& checkpoint, const std::string& path,
                                       const std::vector<Input>& more = {}, int64_t outputs = 1,
                                       FileWeights weights = FileWeights::copied);

}  // namespace retort
