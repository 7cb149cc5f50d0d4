#include "io/diffusers_network.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "io/diffusers_words.h"
#include "retort/error.h"
#include "retort/network.h"

namespace retort {

namespace {

// Beyond what any model has; numbers of this size cannot overflow where they are multiplied.
constexpr int64_t most_layers = 1000, most_number = int64_t{1} << 24;

bool is_whole_up_to(const Json& value, int64_t least, int64_t most) {
  return value.is_number_integer() && value.get<double>() >= static_cast<double>(least) &&
         value.get<double>() <= static_cast<double>(most);
}

// One config.json: its keys, with the plugin's defaults where it says nothing.
class ModelFile {
 public:
  ModelFile(const std::filesystem::path& file, const Registry& registry)
      : file_(file.string()), json_(read_json_object(file)), class_name_(read_class()) {
    plugin_ = find_plugin(registry);
  }

  const std::string& class_name() const { return class_name_; }
  const PluginDescription& plugin() const { return plugin_; }
  const Json& json() const { return json_; }
  const std::string& path() const { return file_; }

  RequestError error(const std::string& key, const std::string& what) const {
    return RequestError(file_ + ": " + key + ": " + what);
  }

  const ParamInfo* declared(const std::string& key) const {
    const auto found =
        std::find_if(plugin_.params.begin(), plugin_.params.end(), [&](const ParamInfo& p) { return p.name == key; });
    return found != plugin_.params.end() ? &*found : nullptr;
  }

  // What a key amounts to: the file's value, or the plugin's default; null where neither says anything.
  Json setting(const std::string& key) const {
    asked_.insert(key);
    if (json_.contains(key)) {
      return json_[key];
    }
    const ParamInfo* own = declared(key);
    const Json fallback = own != nullptr ? Json::parse(own->default_value, nullptr, false) : Json();
    return fallback.is_discarded() || fallback == 0 || fallback == "none" ? Json() : fallback;
  }
  std::string text(const std::string& key) const {
    const Json value = setting(key);
    return value.is_string() ? value.get<std::string>() : "";
  }
  // A count; 0 where the file says null.
  int64_t count(const std::string& key) const {
    const Json value = setting(key);
    if (value.is_null()) {
      return 0;
    }
    if (!is_whole_up_to(value, 1, most_number)) {
      throw error(key,
                  "is " + shown_value(value) + "; expected a whole number from 1 to " + std::to_string(most_number));
    }
    return value.get<int64_t>();
  }
  // The same of a list whose numbers are all equal.
  int64_t common_count(const std::string& key) const {
    const Json value = setting(key);
    if (!value.is_array()) {
      return count(key);
    }
    if (value.empty() || !is_whole_up_to(value[0], 1, most_number) ||
        std::any_of(value.begin(), value.end(), [&](const Json& n) { return n != value[0]; })) {
      throw error(key, "is " + shown_value(value) + "; expected one number, the same for every block");
    }
    return value[0].get<int64_t>();
  }

  // Keys that say what the model is given, not what its layers are.
  bool is_of_spec(const std::string& key) const { return asked_.contains(key); }

 private:
  std::string read_class() const {
    if (!json_at(json_, "quantization_config").is_null()) {
      throw error("quantization_config",
                  "quantised weights are not supported; expected those of float32, float16 or bfloat16");
    }
    const std::string name = text_at(json_, "_class_name");
    const std::string norm = text_at(json_, "norm_type");
    if (name == "Transformer2DModel" &&
        (norm == "ada_norm_zero" || norm == "ada_norm_single")) {  // its name before 0.29
      return norm == "ada_norm_zero" ? "DiTTransformer2DModel" : "PixArtTransformer2DModel";
    }
    return name;
  }

  PluginDescription find_plugin(const Registry& registry) const {
    const std::vector<std::string> names = registry.names(Network::kind);
    if (class_name_.empty()) {
      throw error("_class_name", "missing; expected the config.json of a model of diffusers");
    }
    const auto found = std::find_if(names.begin(), names.end(), [&](const std::string& name) {
      return bare(name) == bare(without_model(class_name_));
    });
    if (found == names.end()) {
      std::string list;
      for (const std::string& name : names) {
        list += (list.empty() ? "'" : ", '") + name + "'";
      }
      throw error("_class_name",
                  shown_word(class_name_) + " is not supported; no network is called so (networks are " + list + ")");
    }
    return registry.describe(registry.find(Network::kind, *found));
  }

  std::string file_;
  Json json_;
  std::string class_name_;
  PluginDescription plugin_;
  mutable std::set<std::string> asked_;
};

// What encodes pictures says how many channels its latents have.
bool is_autoencoder(const ModelFile& file) { return file.declared("latent_channels") != nullptr; }

// Any picture will do that an autoencoder's levels can halve: config.json's, or a small one.
std::vector<int64_t> any_picture(const ModelFile& file) {
  const Json size = file.setting("sample_size");
  size_t levels = 1;
  for (const char* key : {"block_out_channels", "num_encoder_blocks"}) {
    const Json list = file.declared(key) != nullptr ? file.setting(key) : Json();
    levels = std::max(levels, list.is_array() ? list.size() : 0);
  }
  const int64_t least = int64_t{1} << std::min<size_t>(levels - 1, 30);
  const auto fits = [&](const Json& n) { return is_whole_up_to(n, 1, most_number) && n.get<int64_t>() % least == 0; };
  const int64_t side = fits(size) ? size.get<int64_t>() : least;
  return {side, side};
}

// Height and width of a sample: the teacher's, or the file's; empty where neither knows.
std::vector<int64_t> size_of_sample(const ModelFile& file, const DiffusersRequest& request) {
  const Json size = file.setting("sample_size");
  if (!request.size.empty()) {
    return request.size;
  }
  const auto is_size = [](const Json& n) { return is_whole_up_to(n, 1, most_number); };
  if (is_size(size)) {
    return {size.get<int64_t>(), size.get<int64_t>()};
  }
  if (size.is_array() && size.size() == 2 && is_size(size[0]) && is_size(size[1])) {
    return size.get<std::vector<int64_t>>();
  }
  if (!size.is_null()) {
    throw file.error("sample_size", "is " + shown_value(size) + "; expected a number, or height and width");
  }
  if (!request.size_of_data.empty()) {
    return request.size_of_data;
  }
  throw file.error("sample_size", "says nothing, nor does a data set; expected teacher.size = [height, width]");
}

bool attends_to_text(const ModelFile& file) {
  const auto crosses = [](const Json& names) { return names.dump().find("CrossAttn") != std::string::npos; };
  return crosses(file.setting("down_block_types")) || crosses(file.setting("mid_block_type")) ||
         crosses(file.setting("up_block_types"));
}

void add_text(const ModelFile& file, const DiffusersRequest& request, std::vector<Input>& inputs) {
  const int64_t projected = file.count("encoder_hid_dim"), width = file.common_count("cross_attention_dim");
  if (width > 0 && attends_to_text(file)) {
    inputs.push_back({"prompt_embeds", {request.tokens, projected > 0 ? projected : width}});
  }
}

// SDXL's: a pooled text, and numbers about the picture. Its refiner is given one number less.
void add_pooled_text(const ModelFile& file, const Json& pipeline, std::vector<Input>& inputs) {
  const std::string kind = file.text("addition_embed_type");
  const int64_t all = file.count("projection_class_embeddings_input_dim"), each = file.count("addition_time_embed_dim");
  if (kind != "text_time") {
    return;  // the network says what it makes of others
  }
  const Json& refines = json_at(pipeline, "requires_aesthetics_score");
  const int64_t ids = refines.is_boolean() && refines.get<bool>() ? 5 : 6;
  if (each == 0 || all <= ids * each) {
    throw file.error("projection_class_embeddings_input_dim",
                     "is " + std::to_string(all) + "; expected more than " + std::to_string(ids) +
                         " times addition_time_embed_dim, " + std::to_string(each) + ", for a pooled text as well");
  }
  inputs.push_back({"pooled_prompt_embeds", {all - ids * each}});
  inputs.push_back({"time_ids", {ids}});
}

// Classes that are told by numbers in place of a row of a table.
void add_class_numbers(const ModelFile& file, std::vector<Input>& inputs) {
  const std::string kind = file.text("class_embed_type");
  if (kind == "timestep") {
    inputs.push_back({"class_labels", {}});
  } else if (kind == "identity") {
    const Json widths = file.setting("block_out_channels");
    const int64_t first =
        widths.is_array() && !widths.empty() && widths[0].is_number_integer() ? widths[0].get<int64_t>() : 0;
    const bool has_text = file.class_name() == "UNet2DConditionModel";
    const int64_t usual = has_text && file.text("time_embedding_type") == "fourier" ? 2 * first : 4 * first;
    const int64_t told = file.count("time_embedding_dim");
    inputs.push_back({"class_labels", {told > 0 ? told : usual}});
  } else if (kind == "projection" || kind == "simple_projection") {
    inputs.push_back({"class_labels", {file.count("projection_class_embeddings_input_dim")}});
  }
}

// Classes 0 … n - 1; the row behind them is that of no class, where the model has one.
int64_t classes_of(const ModelFile& file, const DiffusersRequest& request) {
  const int64_t normed = file.text("norm_type").starts_with("ada_norm") ? file.count("num_embeds_ada_norm") : 0;
  const int64_t embedded = file.text("class_embed_type").empty() ? file.count("num_class_embeds") : 0;
  if (normed > 0 || embedded == 0) {
    return normed;
  }
  if (request.null_class && embedded < 2) {
    throw file.error("num_class_embeds", "is 1, which leaves no class beside that of \"none\"");
  }
  return request.null_class ? embedded - 1 : embedded;
}

ModelSpec spec_of(const ModelFile& file, const DiffusersRequest& request, const Json& pipeline) {
  const int64_t channels = file.count("in_channels");
  if (channels == 0) {
    throw file.error("in_channels", "missing; expected the channels of a sample");
  }
  ModelSpec out{{channels}, label_inputs(classes_of(file, request))};
  for (const int64_t n : is_autoencoder(file) ? any_picture(file) : size_of_sample(file, request)) {
    out.shape.push_back(n);
  }
  add_text(file, request, out.inputs);
  add_pooled_text(file, pipeline, out.inputs);
  add_class_numbers(file, out.inputs);
  if (file.count("time_cond_proj_dim") > 0) {
    out.inputs.push_back(guidance_input());
  }
  return out;
}

// Whether a key can be left out without a change of what the model is.
bool says_nothing(const std::string& key, const Json& value) {
  return key.starts_with("_") || value.is_null() || value == false || value == "" || value == "default" ||
         ((value.is_array() || value.is_object()) && value.empty());
}

bool is_list(const ParamInfo& param) { return param.type.starts_with("list"); }

// A value as the plugin's key wants it: null is 0 or "none", a number alone may stand for a list of one, a list of
// equal numbers for one of them.
std::optional<Json> fitted_to(const ParamInfo& param, const Json& value) {
  if (value.is_null()) {
    if (param.type == "string") {
      return Json("none");
    }
    return param.type == "integer" || param.type == "number" ? std::optional<Json>(0) : std::nullopt;
  }
  if (is_list(param) && !value.is_array()) {
    return Json::array({value});
  }
  if (!is_list(param) && value.is_array() && !value.empty() &&
      std::all_of(value.begin(), value.end(), [&](const Json& item) { return item == value[0]; })) {
    return value[0];
  }
  if (param.type == "integer" && value.is_number_float() && value.get<double>() == std::floor(value.get<double>())) {
    return Json(static_cast<int64_t>(value.get<double>()));
  }
  return value;
}

// Throws where a number, or one in a list, is beyond all that models have.
void check_numbers(const ModelFile& file, const std::string& key, const Json& value) {
  if (value.is_array()) {
    for (const Json& item : value) {
      check_numbers(file, key, item);
    }
  } else if (value.is_number()) {
    const int64_t most = key.find("layers") != std::string::npos ? most_layers : most_number;
    if (!(std::abs(value.get<double>()) <= static_cast<double>(most))) {
      throw file.error(key, "is " + shown_value(value) + "; expected at most " + std::to_string(most));
    }
  }
}

Value table_of(const ModelFile& file) {
  Value out;
  out.origin = {file.path(), 0};
  out["type"] = Value{file.plugin().file.name, out.origin};
  for (const auto& [key, value] : file.json().items()) {
    if (const ParamInfo* param = file.declared(key)) {
      check_numbers(file, key, value);
      if (const std::optional<Json> fitted = fitted_to(*param, value)) {
        out[key] = from_json(*fitted, file.path());
      }
    } else if (!file.is_of_spec(key) && !says_nothing(key, value)) {
      throw file.error(key, "is " + shown_value(value) + ", of which network '" + file.plugin().file.name +
                                "' knows nothing; expected null or false");
    }
  }
  return out;
}

}  // namespace

DiffusersNetwork read_diffusers_network(const DiffusersFiles& files, const DiffusersRequest& request,
                                        const Registry& registry) {
  const ModelFile file(files.config, registry);
  ModelSpec spec = spec_of(file, request, files.pipeline);
  return {file.class_name(), table_of(file), std::move(spec), is_autoencoder(file)};
}

}  // namespace retort
