/// A trained autoencoder as a folder of diffusers: `from_pretrained` loads it, and pipelines take it for their `vae`.
#pragma once

#include <filesystem>
#include <string>

#include "export/outgoing.h"

namespace retort {

/// Writes config.json, weights and a card, and returns the class. Throws RequestError where the network is none of
/// diffusers' autoencoders.
std::string write_autoencoder(const Outgoing& model, const Registry& registry, const std::string& licence,
                              const std::filesystem::path& out);

}  // namespace retort
