/// A student as a folder of diffusers: `from_pretrained` loads it, and the scheduler beside it samples it.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "export/outgoing.h"
#include "export/scheduler.h"

namespace retort {

struct PipelineExport {
  std::string class_name;  // of the network, in diffusers
  std::string component;   // its folder
  ExportedScheduler scheduler;
};

/// The class of diffusers that a network plugin is: the word of the plugin's page that is its name without "_", in any
/// case, with "Model" behind it or "Autoencoder" at its beginning. Empty for other networks.
std::string diffusers_class(const Registry& registry, const std::string& network_type);
/// What such a network is called within a pipeline.
std::string diffusers_component(const std::string& class_name);

/// config.json of the network: every key of its plugin, with what its sample and weights say, sorted.
Json diffusers_config(const Outgoing& model, const Registry& registry, const std::string& class_name);

/// Its weights and buffers, under diffusers' names.
std::map<std::string, Tensor> diffusers_weights(const Outgoing& model);
/// JSON in the order of its keys, as diffusers writes it.
std::string sorted_json(const Json& json);

/// Writes the folder. Throws RequestError where the network is none of diffusers', or where no scheduler samples it.
PipelineExport write_pipeline(const Outgoing& model, const Registry& registry, Experiment& host,
                              const std::string& licence, const std::filesystem::path& out);

/// The model card: what it is, how it is called, the run's figures.
std::string model_card(const Outgoing& model, const PipelineExport& made, const std::string& licence,
                       const std::string& folder);
/// How any card begins and ends: whose it is, and the run's figures as a table.
std::string card_head(const Outgoing& model, const std::string& classes, const std::string& licence);
std::string card_figures(const Outgoing& model);
/// The shape of four of its samples, as Python's arguments: "4, 3, 32, 32".
std::string card_shape(const Outgoing& model);

}  // namespace retort
