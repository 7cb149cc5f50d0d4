/// A trained autoencoder as a folder of diffusers: `from_pretrained` loads it, and pipelines take it for their `vae`.
#pragma once

#include <filesystem>
#include <string>

#include "export/outgoing.h"

namespace retort {

/// Writes config.json, weights and a card, and returns the class. `scaling_factor` stands in config.json, unless it is
/// 0. Throws RequestError where the network is none of diffusers' autoencoders.
std::string write_autoencoder(const Outgoing& model, const Registry& registry, double scaling_factor,
                              const std::string& licence, const std::filesystem::path& out);

}  // namespace retort
