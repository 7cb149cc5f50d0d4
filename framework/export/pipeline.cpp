#include "export/pipeline.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <set>

#include "config/toml.h"
#include "export/folder.h"
#include "io/diffusers_words.h"
#include "io/files.h"
#include "io/safetensors.h"

namespace retort {

namespace fs = std::filesystem;

std::string diffusers_class(const Registry& registry, const std::string& network_type) {
  const std::vector<std::string> known = registry.names(Network::kind);
  if (std::find(known.begin(), known.end(), network_type) == known.end()) {
    return "";
  }
  const std::string page = registry.describe(registry.find(Network::kind, network_type)).about;
  const std::string end = "Model", begin = "Autoencoder";
  std::string word;
  for (size_t i = 0; i <= page.size(); ++i) {
    if (i < page.size() && std::isalnum(static_cast<unsigned char>(page[i])) != 0) {
      word += page[i];
      continue;
    }
    if ((word.ends_with(end) || word.starts_with(begin)) && bare(without_model(word)) == bare(network_type)) {
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

std::string sorted_json(const Json& json) { return nlohmann::json::parse(spell(json)).dump(2) + "\n"; }

namespace {

// A list that diffusers never writes as the one number in it.
bool stays_list(const std::string& key) {
  return key.ends_with("block_out_channels") || key.ends_with("coder_blocks") || key.starts_with("latents_");
}

// Keys whose 0 stands for diffusers' null: all that may be null there and are whole numbers here.
bool null_is_zero(const std::string& key) {
  static const std::set<std::string> keys = {
      "time_embedding_dim",      "num_class_embeds",    "attn_norm_num_groups", "norm_num_groups",
      "attention_head_dim",      "num_train_timesteps", "time_cond_proj_dim",   "projection_class_embeddings_input_dim",
      "addition_time_embed_dim", "encoder_hid_dim",     "out_channels"};
  return keys.contains(key);
}

// A list of numbers as diffusers has it: whole ones as such, and a list of one as that one.
Json counts(const Json& value) {
  if (value.is_number_float() && value.get<double>() == std::floor(value.get<double>())) {
    return static_cast<int64_t>(value.get<double>());
  }
  if (!value.is_array()) {
    return value;
  }
  Json out = Json::array();
  for (const Json& entry : value) {
    out.push_back(counts(entry));
  }
  return out.size() == 1 ? out[0] : out;
}

Json as_diffusers(const ParamInfo& param, const Json& value, size_t blocks) {
  const bool whole = param.type == "integer", list = param.type.starts_with("list");
  if (value == "none" || (list && value.is_array() && value.empty()) ||
      (whole && value.is_number() && value == 0 && null_is_zero(param.name))) {
    return nullptr;
  }
  const bool numbers =
      list && !stays_list(param.name) && (value.is_number() || (value.is_array() && !value[0].is_string()));
  if (!numbers) {
    return value;
  }
  const Json out = counts(value);
  // No text at all, which diffusers says for each block.
  return param.name == "cross_attention_dim" && out == 0 ? Json(std::vector<Json>(blocks, Json())) : out;
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

int64_t pixels_of_patch(const std::map<std::string, Tensor>& weights) {
  const auto patches = weights.find("pos_embed.proj.weight");
  return patches != weights.end() ? patches->second.size(2) * patches->second.size(3) : 1;
}

// Of the last layer the rows of the prediction alone: beside those of a learned variance no few-step scheduler knows
// what to do. A convolution has the prediction's channels first; DiT's linear layer has all channels of a pixel of the
// patch, then those of the next.
void leave_variance_out(const Outgoing& model, std::map<std::string, Tensor>& weights) {
  const int64_t channels = model.spec.shape[0] * model.spec.outputs;
  for (const std::string layer : {"conv_out", "proj_out_2"}) {
    for (const std::string end : {".weight", ".bias"}) {
      const auto found = weights.find(layer + end);
      if (found == weights.end()) {
        continue;
      }
      const Tensor& whole = found->second;
      std::vector<int64_t> shape = whole.sizes().vec(), pixels = shape;
      const int64_t area = layer.starts_with("conv") ? 1 : pixels_of_patch(weights);
      if (shape[0] != 2 * channels * area) {
        continue;
      }
      pixels[0] = 2 * channels;
      pixels.insert(pixels.begin(), area);
      shape[0] /= 2;
      found->second = whole.view(pixels).narrow(1, 0, channels).reshape(shape).contiguous();
    }
  }
}

}  // namespace

std::map<std::string, Tensor> diffusers_weights(const Outgoing& model) {
  std::map<std::string, Tensor> out;
  for (const auto& parameter : model.network->module()->named_parameters()) {
    out[parameter.key()] = parameter.value().detach().contiguous();
  }
  for (const auto& buffer : model.network->module()->named_buffers()) {  // such as the waves of a Fourier embedding
    out[buffer.key()] = buffer.value().detach().contiguous();
  }
  leave_variance_out(model, out);
  return model.half ? in_half(std::move(out)) : out;
}

Json diffusers_config(const Outgoing& model, const Registry& registry, const std::string& class_name) {
  const Value& table = *at_path(model.checkpoint.config, "model.network");
  const Json given = to_json(table);
  const size_t blocks = json_at(given, "block_out_channels").is_array() ? given["block_out_channels"].size() : 0;
  Json out = Json::object();
  for (const ParamInfo& param : registry.describe(registry.find(Network::kind, model.network_type())).params) {
    const Json fallback = Json::parse(param.default_value, nullptr, false);
    const Json value = given.contains(param.name) ? given[param.name] : fallback.is_discarded() ? Json() : fallback;
    out[param.name] = as_diffusers(param, value, blocks);
  }
  // What follows another key where it is not given.
  if (const char* follows = "mid_block_only_cross_attention"; out.contains(follows) && !given.contains(follows)) {
    out[follows] = nullptr;
  }
  if (out.contains("out_channels")) {  // without a learned variance
    out["out_channels"] = model.spec.shape[0] * model.spec.outputs;
  }
  out["in_channels"] = model.spec.shape[0];
  if (model.spec.shape.size() == 3) {
    const int64_t height = model.spec.shape[1], width = model.spec.shape[2];
    out["sample_size"] = height == width ? Json(height) : Json::array({height, width});
  }
  add_sizes(diffusers_weights(model), out);
  out["_class_name"] = class_name;
  out["_diffusers_version"] = diffusers_version();
  return out;
}

namespace {

std::vector<int64_t> student_steps(const Outgoing& model) {
  const Value* steps = model.configured("evaluate.student_steps");
  return steps != nullptr ? to_json(*steps).get<std::vector<int64_t>>() : std::vector<int64_t>{1};
}

// The pipeline that samples it without any further part; empty where none does. DDPMPipeline begins at plain noise,
// hands its network sample and time alone, and leaves all else to the scheduler.
std::string pipeline_class(const Outgoing& model, const PipelineExport& made) {
  const bool alone = bare(made.class_name) == bare("UNet2DModel") && model.spec.inputs.empty();
  const std::string& scheduler = made.scheduler.name;
  const bool plain = scheduler.starts_with("LCM") || scheduler.starts_with("DDIM") || scheduler.starts_with("Flow");
  return alone && plain ? "DDPMPipeline" : "";
}

}  // namespace

PipelineExport write_pipeline(const Outgoing& model, const Registry& registry, Experiment& host,
                              const std::string& licence, const fs::path& out) {
  PipelineExport made;
  made.class_name = diffusers_class(registry, model.network_type());
  if (made.class_name.empty()) {
    throw RequestError(model.place.file.string() + ": its network '" + model.network_type() +
                       "' is no class of diffusers (its page names none); --format torchscript writes any network");
  }
  made.component = diffusers_component(made.class_name);
  made.scheduler = scheduler_for(model, model.grid(host), student_steps(model));
  const Json config = diffusers_config(model, registry, made.class_name);
  TensorFile weights{diffusers_weights(model), {{"format", "pt"}, {export_mark, RETORT_VERSION}}};
  write_folder(out, [&](const fs::path& folder) {
    make_folder(folder / made.component);
    make_folder(folder / "scheduler");
    write_text(folder / made.component / "config.json", sorted_json(config));
    write_safetensors(folder / made.component / "diffusion_pytorch_model.safetensors", weights);
    write_text(folder / "scheduler" / "scheduler_config.json", sorted_json(made.scheduler.config));
    if (const std::string pipeline = pipeline_class(model, made); !pipeline.empty()) {
      write_text(folder / "model_index.json", sorted_json({{"_class_name", pipeline},
                                                           {"_diffusers_version", config["_diffusers_version"]},
                                                           {made.component, {diffusers_library(), made.class_name}},
                                                           {"scheduler", {diffusers_library(), made.scheduler.name}}}));
    }
    write_text(folder / "README.md", model_card(model, made, licence, out.filename().string()));
  });
  return made;
}

}  // namespace retort
