#include "io/diffusers_files.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string_view>
#include <vector>

#include "io/files.h"
#include "io/mapped.h"
#include "retort/error.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

constexpr const char* config_name = diffusers_config_name;
constexpr const char* scheduler_name = "scheduler_config.json";
constexpr const char* pipeline_name = "model_index.json";
const std::string weights_name = "diffusion_pytorch_model";
// As pipelines call the folder of their model: one or the other. And that of their autoencoder.
const fs::path denoiser_names = "unet/transformer", autoencoder_names = "vae";
constexpr std::string_view no_numbers[] = {"-Infinity", "Infinity", "NaN"};
constexpr const char* what_is_wanted = "expected a folder that save_pretrained of diffusers wrote";

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    out += (out.empty() ? "'" : ", '") + word + "'";
  }
  return out;
}

// The names of a pipeline's parts: those with a library and a class.
std::vector<std::string> parts_of_pipeline(const Json& pipeline) {
  std::vector<std::string> out;
  for (const auto& [key, value] : pipeline.items()) {
    if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
      out.push_back(key);
    }
  }
  return out;
}

const fs::path& names_of_part(const DiffusersRequest& request) {
  return request.of_autoencoder() ? autoencoder_names : denoiser_names;
}

// The folder of a pipeline's denoising model, or of its autoencoder.
fs::path part_of(const DiffusersRequest& request, const Json& pipeline) {
  const fs::path folder = request.folder;
  const std::vector<std::string> parts = parts_of_pipeline(pipeline);
  for (const fs::path& name : names_of_part(request)) {
    if (std::find(parts.begin(), parts.end(), name.string()) != parts.end()) {
      return is_folder(folder / name) ? folder / name : folder;
    }
  }
  throw RequestError((folder / pipeline_name).string() + ": has " +
                     (request.of_autoencoder() ? "no '" + autoencoder_names.string() + "'"
                                               : std::string("neither 'unet' nor 'transformer'")) +
                     (parts.empty() ? "" : ", but " + joined(parts)) + "; expected a pipeline of a diffusion model" +
                     (request.of_autoencoder() ? " in latents" : "") + ", or its folder as " + request.table +
                     ".subfolder");
}

fs::path find_component(const DiffusersRequest& request, const Json& pipeline) {
  const fs::path folder = request.folder;
  if (!request.subfolder.empty()) {
    if (!is_folder(folder / request.subfolder)) {
      throw RequestError(folder.string() + ": has no folder '" + request.subfolder + "', which " + request.table +
                         ".subfolder names");
    }
    return folder / request.subfolder;
  }
  if (!pipeline.is_null()) {
    return part_of(request, pipeline);
  }
  for (const fs::path& name : names_of_part(request)) {
    if (!is_file(folder / config_name) && is_file(folder / name / config_name)) {
      return folder / name;
    }
  }
  return folder;
}

fs::path scheduler_beside(const fs::path& component) {
  std::error_code error;
  return fs::absolute(component / "..", error).lexically_normal() / "scheduler";
}

// Beside the model, within the folder, or beside the model's folder in a pipeline.
fs::path find_scheduler(const DiffusersRequest& request, const fs::path& component) {
  if (!request.scheduler.empty()) {
    const fs::path given = request.scheduler;
    const fs::path file = is_folder(given) ? given / scheduler_name : given;
    if (!is_file(file)) {
      throw RequestError(file.string() + ": no such file; expected the " + std::string(scheduler_name) +
                         " that teacher.scheduler names");
    }
    return file;
  }
  for (const fs::path& folder :
       {fs::path(request.folder) / "scheduler", component, fs::path(request.folder), scheduler_beside(component)}) {
    if (is_file(folder / scheduler_name)) {
      return folder / scheduler_name;
    }
  }
  return {};
}

// Python writes Infinity, -Infinity and NaN, of which JSON knows nothing.
std::string without_infinities(const std::string& text) {
  std::string out;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (quoted && text[i] == '\\' && i + 1 < text.size()) {
      out += text[i++];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted) {
      const std::string_view rest = std::string_view(text).substr(i);
      const auto found = std::find_if(std::begin(no_numbers), std::end(no_numbers),
                                      [&](std::string_view word) { return rest.starts_with(word); });
      if (found != std::end(no_numbers)) {
        out += "null";
        i += found->size() - 1;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

}  // namespace

Json read_json_object(const fs::path& file) {
  const std::string text = read_text(file);
  if (text.starts_with("version https://git-lfs")) {
    throw RequestError(file.string() +
                       ": is a pointer of Git LFS in place of the file itself (git lfs pull brings it)");
  }
  Json out = Json::parse(without_infinities(text), nullptr, /*allow_exceptions=*/false);
  if (!out.is_object()) {
    throw RequestError(file.string() + ": is damaged; expected a JSON object");
  }
  return out;
}

fs::path scheduler_outside(const fs::path& folder) {
  const fs::path file = scheduler_beside(folder) / scheduler_name;
  const bool has_own = is_file(folder / "scheduler" / scheduler_name) || is_file(folder / scheduler_name);
  return is_file(folder / config_name) && !has_own && is_file(file) ? file : fs::path();
}

DiffusersFiles find_diffusers(const DiffusersRequest& request) {
  const fs::path folder = request.folder;
  if (!is_folder(folder)) {
    throw RequestError(folder.string() + ": no such folder; " + what_is_wanted);
  }
  DiffusersFiles out;
  if (is_file(folder / pipeline_name)) {
    out.pipeline = read_json_object(folder / pipeline_name);
  }
  out.component = find_component(request, out.pipeline);
  out.config = out.component / config_name;
  if (!is_file(out.config)) {
    throw RequestError(out.component.string() + ": has no " + config_name + "; " + what_is_wanted);
  }
  out.scheduler = find_scheduler(request, out.component);
  return out;
}

namespace {

struct WeightFiles {
  fs::path index;   // of several files
  fs::path single;  // or the only one
};

// "" where there are none of that variant.
WeightFiles weights_of_variant(const fs::path& folder, const std::string& variant) {
  const std::string middle = variant.empty() ? "" : "." + variant;
  for (const std::string& name : {weights_name + ".safetensors.index" + middle + ".json",
                                  weights_name + ".safetensors" + middle + ".index.json"}) {
    if (is_file(folder / name)) {
      return {folder / name, {}};
    }
  }
  const fs::path single = folder / (weights_name + middle + ".safetensors");
  return {{}, is_file(single) ? single : fs::path()};
}

// "fp16" of "diffusion_pytorch_model.fp16.safetensors"; "-00001-of-00002" belongs to the shard.
std::string variant_in(const std::string& name) {
  const std::string end = ".safetensors";
  if (!name.starts_with(weights_name) || !name.ends_with(end)) {
    return "";
  }
  std::string middle = name.substr(weights_name.size(), name.size() - weights_name.size() - end.size());
  if (const size_t shard = middle.find('-'); shard != std::string::npos) {
    middle = shard > 0 ? middle.substr(0, shard) : middle.substr(std::min(middle.find('.'), middle.size()));
  }
  return middle.starts_with(".") ? middle.substr(1) : "";
}

// Why there are no weights, from what there is.
RequestError no_weights(const fs::path& folder, const std::string& variant, const std::string& class_name,
                        const std::string& table) {
  const std::string key = table + ".variant";
  std::set<std::string> variants;
  std::vector<std::string> others;
  bool pickled = false;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (const std::string found = variant_in(name); !found.empty()) {
      variants.insert(found);
    } else if (name.ends_with(".safetensors") && !name.starts_with(weights_name)) {
      others.push_back(name);
    }
    pickled |= name.starts_with(weights_name) && (name.ends_with(".bin") || name.ends_with(".bin.index.json"));
  }
  const std::string place = folder.string() + ": ";
  const bool plain = !variant.empty() &&
                     (!weights_of_variant(folder, "").single.empty() || !weights_of_variant(folder, "").index.empty());
  if (plain || !variants.empty()) {
    const std::string has = joined(std::vector<std::string>(variants.begin(), variants.end()));
    const std::string others_are = (variants.empty() ? "" : "variants " + has) +
                                   (plain && !variants.empty() ? ", and " : "") +
                                   (plain ? "plain weights, without " + key : "");
    return RequestError(place + "has no weights " +
                        (variant.empty() ? "but of variants; " + key + " chooses one of " + has
                                         : "of variant '" + variant + "'; there are " + others_are));
  }
  if (pickled) {
    return RequestError(
        place + "has its weights as a Python pickle (.bin) alone, which is not read; convert it once: python3 -c " +
        "\"from diffusers import " + class_name + " as M; M.from_pretrained('" + folder.string() +
        "').save_pretrained('" + folder.string() + "')\"");
  }
  return RequestError(place + "has no weights; expected " + weights_name + ".safetensors" +
                      (others.empty() ? "" : ", or that this is the name of " + joined(others)));
}

using Tensors = std::map<std::string, Tensor>;

// The tensors of a file, all of which have to be weights; tables of places are none.
Tensors map_weights(const fs::path& file) {
  Tensors out = map_safetensors(file).tensors;
  for (const auto& [name, tensor] : out) {
    if (!tensor.is_floating_point() && !name.ends_with("position_ids")) {
      throw RequestError(file.string() + ": '" + name + "' is of type " + c10::toString(tensor.scalar_type()) +
                         ", which is not supported for weights; expected float32, float16 or bfloat16");
    }
  }
  return out;
}

// The tensors that an index lists, each from its shard.
Tensors map_shards(const fs::path& index) {
  const Json json = read_json_object(index);
  const Json& places = json_at(json, "weight_map");
  if (!places.is_object() || places.empty()) {
    throw RequestError(index.string() + ": has no weight_map; expected tensors' names and their files");
  }
  std::map<std::string, Tensors> shards;
  Tensors out;
  for (const auto& [name, file] : places.items()) {
    const std::string shard = file.is_string() ? file.get<std::string>() : "";
    if (shard.empty() || shard.find_first_of("/\\") != std::string::npos || shard == "..") {
      throw RequestError(index.string() + ": says that '" + name + "' is in '" + shard +
                         "'; expected the name of a file in the same folder");
    }
    if (!shards.contains(shard)) {
      const fs::path path = index.parent_path() / shard;
      if (!is_file(path)) {
        throw RequestError(path.string() + ": no such file, though " + index.filename().string() + " names it");
      }
      shards[shard] = map_weights(path);
    }
    const auto found = shards[shard].find(name);
    if (found == shards[shard].end()) {
      throw RequestError((index.parent_path() / shard).string() + ": has no tensor '" + name + "', though " +
                         index.filename().string() + " says so; are the files of one model?");
    }
    out.emplace(name, found->second);
  }
  return out;
}

// Attention's names before diffusers 0.12, which many published files still have.
std::string renamed_attention(const std::string& name) {
  static const std::pair<std::string, std::string> renamed[] = {
      {".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."}, {".proj_attn.", ".to_out.0."}};
  if (name.find("attentions.") == std::string::npos) {
    return name;
  }
  for (const auto& [old, now] : renamed) {
    if (const size_t at = name.find(old); at != std::string::npos) {
      return name.substr(0, at) + now + name.substr(at + old.size());
    }
  }
  return name;
}

}  // namespace

std::map<std::string, Tensor> map_diffusers(const fs::path& component, const std::string& variant,
                                            const std::string& class_name, const std::string& table) {
  const WeightFiles files = weights_of_variant(component, variant);
  if (files.index.empty() && files.single.empty()) {
    throw no_weights(component, variant, class_name, table);
  }
  Tensors out;
  for (const auto& [name, tensor] : files.index.empty() ? map_weights(files.single) : map_shards(files.index)) {
    if (!out.emplace(renamed_attention(name), tensor).second) {
      throw RequestError(component.string() + ": has the weights '" + renamed_attention(name) +
                         "' twice, under their old name and their new one");
    }
  }
  return out;
}

}  // namespace retort
