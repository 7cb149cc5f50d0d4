/// A model's config.json as a network of Retort: which plugin, with which keys, built for what.
#pragma once

#include <filesystem>

#include "io/diffusers_files.h"
#include "plugin/registry.h"
#include "retort/conditioning.h"

namespace retort {

struct DiffusersNetwork {
  std::string class_name;
  Value table;  // `type` and its keys
  ModelSpec spec;
  bool is_autoencoder = false;  // between pictures and latents, without a process
};

/// The network is the plugin whose name without "_" is the class's without "Model", in lower case. Its keys are those
/// of config.json that it declares; null stands for 0 or "none". What the sample and its conditions are like is read
/// from keys such as sample_size. Throws RequestError, naming file and key, for what is not understood.
DiffusersNetwork read_diffusers_network(const DiffusersFiles& files, const DiffusersRequest& request,
                                        const Registry& registry);

}  // namespace retort
