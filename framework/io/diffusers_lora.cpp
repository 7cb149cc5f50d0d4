#include "io/diffusers_lora.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <regex>
#include <vector>

#include "io/diffusers_files.h"
#include "io/diffusers_ldm_names.h"
#include "io/diffusers_words.h"
#include "io/low_rank.h"
#include "io/mapped.h"
#include "log.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr const char* peft_config_name = "adapter_config.json";
constexpr const char* lora_file_names[] = {"adapter_model.safetensors", "pytorch_lora_weights.safetensors"};
const std::string kohya_prefix = "lora_unet_";

// The change of one module's weight.
struct LowRankChange {
  Tensor a, b;
  std::optional<double> alpha;
};

enum class LoraPart { a, b, embedding_a, embedding_b, alpha, unknown };

struct LoraKey {
  std::string module;  // as the file calls it
  LoraPart part = LoraPart::unknown;
};

std::string without_prefixes(std::string key) {
  static const std::string prefixes[] = {"unet.", "transformer.", "base_model.model."};
  for (bool again = true; again;) {
    again = false;
    for (const std::string& prefix : prefixes) {
      if (key.starts_with(prefix)) {
        key.erase(0, prefix.size());
        again = true;
      }
    }
  }
  return key;
}

// "attn1.processor.to_out_lora" was attn1.to_out.0.
std::string without_processor(std::string module) {
  const std::string processor = ".processor.", end = "_lora";
  if (const size_t at = module.find(processor); at != std::string::npos && module.ends_with(end)) {
    module = module.substr(0, at) + "." + module.substr(at + processor.size());
    module.resize(module.size() - end.size());
    module += module.ends_with(".to_out") ? ".0" : "";
  }
  return module;
}

LoraKey read_lora_key(const std::string& key) {
  static const std::pair<std::regex, LoraPart> forms[] = {
      {std::regex(R"((.+)\.lora_A(?:\.\w+)?\.weight)"), LoraPart::a},
      {std::regex(R"((.+)\.lora_B(?:\.\w+)?\.weight)"), LoraPart::b},
      {std::regex(R"((.+)\.lora_embedding_A(?:\.\w+)?)"), LoraPart::embedding_a},
      {std::regex(R"((.+)\.lora_embedding_B(?:\.\w+)?)"), LoraPart::embedding_b},
      {std::regex(R"((.+?)(?:\.lora|\.lora_linear_layer)?\.down\.weight)"), LoraPart::a},
      {std::regex(R"((.+?)(?:\.lora|\.lora_linear_layer)?\.up\.weight)"), LoraPart::b},
      {std::regex(R"((.+)\.lora_down\.weight)"), LoraPart::a},
      {std::regex(R"((.+)\.lora_up\.weight)"), LoraPart::b},
      {std::regex(R"((.+)\.alpha)"), LoraPart::alpha}};
  const std::string name = without_prefixes(key);
  std::smatch found;
  for (const auto& [form, part] : forms) {
    if (std::regex_match(name, found, form)) {
      return {without_processor(found[1]), part};
    }
  }
  return {};
}

bool is_of_text_encoder(const std::string& key) {
  return key.starts_with("text_encoder") || key.starts_with("lora_te");
}

// The modules of a model by the names that adapters call them.
class ModuleNames {
 public:
  explicit ModuleNames(const std::map<std::string, Tensor>& weights) {
    int64_t layers = 0;
    for (const auto& [name, weight] : weights) {
      layers += name.starts_with("down_blocks.0.resnets.") && name.ends_with(".conv1.weight") ? 1 : 0;
    }
    for (const auto& [name, weight] : weights) {
      if (!name.ends_with(".weight")) {
        continue;
      }
      const std::string module = low_rank_module(name);
      const std::string block = module.substr(0, module.find('.', module.find('.') + 1));
      const auto attention = weights.lower_bound(block + ".attentions.");
      const bool attends = attention != weights.end() && attention->first.starts_with(block + ".attentions.");
      by_name_[module] = by_name_[kohya(module)] = name;
      if (const std::string ldm = ldm_name(module, layers, attends); !ldm.empty()) {
        by_name_[kohya(ldm)] = name;
      }
    }
  }
  // The weight of a module; "" where there is none.
  std::string weight_of(const std::string& module) const {
    const auto found = by_name_.find(module);
    return found != by_name_.end() ? found->second : "";
  }

 private:
  static std::string kohya(std::string module) {
    std::replace(module.begin(), module.end(), '.', '_');
    return kohya_prefix + module;
  }
  std::map<std::string, std::string> by_name_;
};

fs::path lora_file(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return path;
  }
  for (const char* name : lora_file_names) {
    if (fs::is_regular_file(fs::path(path) / name, error)) {
      return fs::path(path) / name;
    }
  }
  throw RequestError(path + ": holds no adapter; expected " + lora_file_names[0] + " or " + lora_file_names[1]);
}

// What PEFT's configuration says of the scale, from its own file or from the metadata of diffusers' files.
class PeftScale {
 public:
  PeftScale(const fs::path& file, const std::map<std::string, std::string>& metadata) {
    const auto inside = metadata.find("lora_adapter_metadata");
    const fs::path beside = file.parent_path() / peft_config_name;
    std::error_code error;
    if (inside != metadata.end()) {
      read(without_component(Json::parse(inside->second, nullptr, false)), file.string());
    } else if (file.filename() != lora_file_names[1] && fs::is_regular_file(beside, error)) {
      read(read_json_object(beside), beside.string());
    }
  }

  // Alpha over the rank, or over its root, for a module.
  double of(const std::string& module, int64_t rank) const {
    const double alpha = alpha_of(module).value_or(static_cast<double>(rank));
    return alpha / (root_ ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank));
  }

 private:
  static Json without_component(const Json& json) {
    Json out = Json::object();
    if (!json.is_object()) {
      return out;
    }
    for (const auto& [key, value] : json.items()) {
      if (key.starts_with("unet.") || key.starts_with("transformer.")) {
        out[key.substr(key.find('.') + 1)] = value;
      }
    }
    return out;
  }

  void read(const Json& config, const std::string& place) {
    const auto refuse = [&](const char* key) {
      throw RequestError(place + ": " + key + ": is " + shown_value(json_at(config, key)) +
                         ", which is not supported; expected a plain low-rank change");
    };
    for (const char* key : {"use_dora", "fan_in_fan_out", "modules_to_save", "layer_replication"}) {
      const Json& value = json_at(config, key);
      if (!value.is_null() && value != false && !(value.is_array() && value.empty())) {
        refuse(key);
      }
    }
    if (const std::string type = text_at(config, "peft_type"); !type.empty() && type != "LORA") {
      refuse("peft_type");
    }
    if (const std::string bias = text_at(config, "bias"); !bias.empty() && bias != "none") {
      refuse("bias");
    }
    root_ = json_at(config, "use_rslora") == true;
    if (const Json& alpha = json_at(config, "lora_alpha"); alpha.is_number()) {
      alpha_ = alpha.get<double>();
    } else if (text_at(config, "peft_type") == "LORA") {
      constexpr double default_alpha = 8;
      alpha_ = default_alpha;
    }
    if (const Json& patterns = json_at(config, "alpha_pattern"); patterns.is_object()) {
      patterns_ = patterns;
    }
  }

  std::optional<double> alpha_of(const std::string& module) const {
    for (const auto& [pattern, alpha] : patterns_.items()) {
      try {
        if (alpha.is_number() && std::regex_match(module, std::regex("(.*\\.)?(" + pattern + ")"))) {
          return alpha.get<double>();
        }
      } catch (const std::regex_error&) {  // matches nothing
      }
    }
    return alpha_;
  }

  std::optional<double> alpha_;
  bool root_ = false;
  Json patterns_ = Json::object();
};

// The changes in a file, by the weights that they change.
std::map<std::string, LowRankChange> read_changes(const TensorFile& file, const ModuleNames& names,
                                                  const std::string& path) {
  std::map<std::string, LowRankChange> out;
  int64_t left_aside = 0;
  for (const auto& [key, tensor] : file.tensors) {
    if (is_of_text_encoder(key)) {
      ++left_aside;
      continue;
    }
    const LoraKey read = read_lora_key(key);
    if (read.part == LoraPart::unknown) {
      throw RequestError(path + ": '" + key +
                         "' is no part of a plain low-rank change, lora_A, lora_B or alpha; others, such as "
                         "DoRA's and LyCORIS's, are not supported");
    }
    const std::string weight = names.weight_of(read.module);
    if (weight.empty()) {
      throw RequestError(path + ": '" + key + "' has no place in the model; is the adapter one of another model?");
    }
    LowRankChange& change = out[weight];
    if (read.part == LoraPart::alpha) {
      if (tensor.numel() != 1) {
        throw RequestError(path + ": '" + key + "' is no single number");
      }
      change.alpha = tensor.to(at::kDouble).item<double>();
    } else if (read.part == LoraPart::embedding_a || read.part == LoraPart::embedding_b) {
      if (tensor.dim() != 2) {
        throw RequestError(path + ": '" + key + "' is no matrix");
      }
      // A table of rows is changed by the transpose of B A, which is A^T B^T.
      (read.part == LoraPart::embedding_a ? change.b : change.a) = tensor.t();
    } else {
      (read.part == LoraPart::a ? change.a : change.b) = tensor;
    }
  }
  if (out.empty()) {
    throw RequestError(path + ": holds no change of the model" +
                       (left_aside > 0 ? ", but of its text encoder alone" : "; expected a file of low-rank changes"));
  }
  if (left_aside > 0) {
    log::info(path + ": what it changes of text encoders is left aside");
  }
  return out;
}

Tensor merged(const Tensor& weight, const LowRankChange& change, double scale) {
  const at::ScalarType exact = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor added = low_rank_change(change.a.to(exact), change.b.to(exact), scale);
  return (weight.to(exact) + added.view(weight.sizes())).to(weight.scalar_type());
}

}  // namespace

void merge_diffusers_lora(std::map<std::string, Tensor>& weights, const std::string& path, double scale) {
  const fs::path place = lora_file(path);
  const TensorFile file = map_safetensors(place);
  const PeftScale peft(place, file.metadata);
  for (const auto& [name, change] : read_changes(file, ModuleNames(weights), place.string())) {
    Tensor& weight = weights[name];
    const auto fits = [&] {
      return change.a.defined() && change.b.defined() && change.a.dim() >= 2 && change.b.dim() >= 2 &&
             change.a.numel() > 0 && change.b.size(1) == change.a.size(0) &&
             change.b.numel() == change.b.size(0) * change.a.size(0) && change.b.size(0) == weight.size(0) &&
             change.b.size(0) * change.a[0].numel() == weight.numel();
    };
    if (weight.dim() < 2 || !fits()) {
      throw RequestError(place.string() + ": its change of '" + name + "' " +
                         (change.a.defined() && change.b.defined() ? "has another shape than the weights"
                                                                   : "lacks one of its two matrices"));
    }
    const int64_t rank = change.a.size(0);
    const double own = change.alpha ? *change.alpha / static_cast<double>(rank) : peft.of(low_rank_module(name), rank);
    weight = merged(weight, change, scale * own);
  }
}

}  // namespace retort
