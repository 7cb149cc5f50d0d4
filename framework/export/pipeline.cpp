#include "export/pipeline.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "config/toml.h"
#include "export/folder.h"
#include "io/files.h"
#include "io/safetensors.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

std::string bare(std::string name) {
  std::erase(name, '_');
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name;
}

}  // namespace

std::string diffusers_class(const Registry& registry, const std::string& network_type) {
  const std::vector<std::string> known = registry.names(Network::kind);
  if (std::find(known.begin(), known.end(), network_type) == known.end()) {
    return "";
  }
  const std::string page = registry.describe(registry.find(Network::kind, network_type)).about;
  const std::string end = "Model";
  std::string word;
  for (size_t i = 0; i <= page.size(); ++i) {
    if (i < page.size() && std::isalnum(static_cast<unsigned char>(page[i])) != 0) {
      word += page[i];
      continue;
    }
    if (word.ends_with(end) && bare(word.substr(0, word.size() - end.size())) == bare(network_type)) {
      return word;
    }
    word.clear();
  }
  return "";
}

std::string diffusers_component(const std::string& class_name) {
  const std::string name = bare(class_name), unet = bare("UNet");
  return name.starts_with(unet) ? unet : "transformer";
}

namespace {

// JSON in the order of its keys, as diffusers writes it.
std::string sorted(const Json& json) { return nlohmann::json::parse(spell(json)).dump(2) + "\n"; }

// Whole numbers of which 0 is one; elsewhere it stands for diffusers' null.
bool may_be_zero(const std::string& key) { return key == "freq_shift" || key == "downsample_padding"; }

Json as_diffusers(const std::string& key, const Json& value, size_t blocks) {
  if (value == "none" || (value.is_number_integer() && value == 0 && !may_be_zero(key))) {
    return nullptr;
  }
  if (value.is_array() && value.size() == 1 && blocks != 1) {  // one number for every block
    return value[0];
  }
  return value;
}

const Tensor* weight_of(const std::map<std::string, Tensor>& weights, const std::string& end) {
  for (const auto& [name, tensor] : weights) {
    if (name.ends_with(end)) {
      return &tensor;
    }
  }
  return nullptr;
}

// What the weights' shapes say, whatever the keys do.
void add_sizes(const std::map<std::string, Tensor>& weights, Json& config) {
  struct Size {
    const char* key;
    const char* weight;
    int64_t dimension, less;
  };
  static const Size sizes[] = {{"out_channels", "conv_out.weight", 0, 0},
                               {"num_class_embeds", "class_embedding.weight", 0, 0},
                               {"cross_attention_dim", "attn2.to_k.weight", 1, 0},
                               {"time_cond_proj_dim", "time_embedding.cond_proj.weight", 1, 0},
                               {"projection_class_embeddings_input_dim", "add_embedding.linear_1.weight", 1, 0},
                               {"num_embeds_ada_norm", "class_embedder.embedding_table.weight", 0, 1}};
  for (const Size& size : sizes) {
    if (const Tensor* weight = weight_of(weights, size.weight)) {
      config[size.key] = weight->size(size.dimension) - size.less;
    }
  }
}

std::map<std::string, Tensor> weights_of(const Outgoing& model) {
  std::map<std::string, Tensor> out;
  for (const auto& parameter : model.network->module()->named_parameters()) {
    out[parameter.key()] = parameter.value().detach().contiguous();
  }
  return out;
}

}  // namespace

Json diffusers_config(const Outgoing& model, const Registry& registry, const std::string& class_name) {
  const Value& table = *at_path(model.checkpoint.config, "model.network");
  const Json given = to_json(table);
  const size_t blocks = json_at(given, "block_out_channels").is_array() ? given["block_out_channels"].size() : 0;
  Json out = Json::object();
  for (const ParamInfo& param : registry.describe(registry.find(Network::kind, model.network_type())).params) {
    const Json fallback = Json::parse(param.default_value, nullptr, false);
    const Json value = given.contains(param.name) ? given[param.name] : fallback.is_discarded() ? Json() : fallback;
    out[param.name] = as_diffusers(param.name, value, blocks);
  }
  out["in_channels"] = model.spec.shape[0];
  if (model.spec.shape.size() == 3) {
    const int64_t height = model.spec.shape[1], width = model.spec.shape[2];
    out["sample_size"] = height == width ? Json(height) : Json::array({height, width});
  }
  add_sizes(weights_of(model), out);
  out["_class_name"] = class_name;
  out["_diffusers_version"] = diffusers_version();
  return out;
}

namespace {

std::vector<int64_t> student_steps(const Outgoing& model) {
  const Value* steps = model.configured("evaluate.student_steps");
  return steps != nullptr ? to_json(*steps).get<std::vector<int64_t>>() : std::vector<int64_t>{1};
}

// The pipeline that samples it without any further part; empty where one needs a text encoder or an autoencoder.
std::string pipeline_class(const Outgoing& model, const PipelineExport& made) {
  const bool text = std::any_of(model.spec.inputs.begin(), model.spec.inputs.end(),
                                [](const Input& input) { return input.classes == 0; });
  if (text || made.component == "transformer") {
    return "";
  }
  return made.scheduler.name.starts_with("CM") ? "ConsistencyModelPipeline" : "DDPMPipeline";
}

}  // namespace

PipelineExport write_pipeline(const Outgoing& model, const Registry& registry, Experiment& host,
                              const std::string& licence, const fs::path& out) {
  PipelineExport made;
  made.class_name = diffusers_class(registry, model.network_type());
  if (made.class_name.empty()) {
    throw RequestError(model.place.file.string() + ": its network '" + model.network_type() +
                       "' is no class of diffusers; --format torchscript writes any network");
  }
  made.component = diffusers_component(made.class_name);
  made.scheduler = scheduler_for(model, model.grid(host), student_steps(model));
  const Json config = diffusers_config(model, registry, made.class_name);
  TensorFile weights{weights_of(model), {{"format", "pt"}}};
  write_folder(out, [&](const fs::path& folder) {
    make_folder(folder / made.component);
    make_folder(folder / "scheduler");
    write_text(folder / made.component / "config.json", sorted(config));
    write_safetensors(folder / made.component / "diffusion_pytorch_model.safetensors", weights);
    write_text(folder / "scheduler" / "scheduler_config.json", sorted(made.scheduler.config));
    if (const std::string pipeline = pipeline_class(model, made); !pipeline.empty()) {
      write_text(folder / "model_index.json", sorted({{"_class_name", pipeline},
                                                      {"_diffusers_version", config["_diffusers_version"]},
                                                      {made.component, {diffusers_library(), made.class_name}},
                                                      {"scheduler", {diffusers_library(), made.scheduler.name}}}));
    }
    write_text(folder / "README.md", model_card(model, made, licence, out.filename().string()));
  });
  return made;
}

}  // namespace retort
