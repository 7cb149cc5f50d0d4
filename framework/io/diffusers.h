/// A model that diffusers saved, as a checkpoint of Retort.
#pragma once

#include <functional>
#include <string>

#include "io/diffusers_request.h"
#include "plugin/registry.h"
#include "retort/error.h"
#include "retort/host.h"

namespace retort {

/// Its configuration: the table "model", as checkpoints of Retort have it, and "source", where it comes from. Networks
/// are looked for in the registry. Throws RequestError, in one line, for whatever is wrong with the folder.
Value read_diffusers_config(const DiffusersRequest& request, const Registry& registry);

/// The same with its weights, mapped from their files.
Checkpoint read_diffusers(const DiffusersRequest& request, const Registry& registry);

/// Whether a checkpoint is such a model.
bool is_foreign(const Checkpoint& checkpoint);

/// An error about a key of the network's table, as one about config.json where the checkpoint is such a model.
RequestError foreign_error(const Checkpoint& checkpoint, const RequestError& error);

/// Throws RequestError where the weights are not those of the network that its config.json describes: the first that is
/// missing, of another shape, or too many. Weights that are new, which begin without effect, may be missing; where the
/// network gives several `outputs`, shapes are not looked at. Checkpoints of Retort's own are left alone.
void check_foreign_weights(const Checkpoint& checkpoint, Network& network,
                           const std::function<bool(const std::string&)>& is_new, int64_t outputs);

}  // namespace retort
