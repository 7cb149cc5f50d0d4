/// A model of diffusers, from the folder that `save_pretrained` wrote: a whole pipeline, or a single model.
///
/// The network is built from `config.json`, with the plugin that is called as its class; `retort list network` shows
/// which there are. `scheduler_config.json`, in `scheduler/` or beside the model, says the process and what the network
/// predicts. Weights are safetensors, one file or shards, and are read where they lie, not copied; their files have to
/// stay as they are while a run goes on. `variant` chooses among them, as in diffusers.
///
/// A text model is conditioned on `prompt_embeds`, SDXL also on `pooled_prompt_embeds` and `time_ids`, which the data
/// set brings; none of them is computed here. What guidance leads away from is `unconditional`: "zeros" for a text of
/// zeros, a file with the embedding of an empty prompt, or "null_class" where the last class stands for none. Zeros are
/// right where `model_index.json` says `force_zeros_for_empty_prompt`, as SDXL's does; other text models that are
/// guided need the key. Sizes and crops (`time_ids`) stay as they are. `lora` merges an adapter: diffusers', PEFT's
/// (its folder) or kohya's. A model that takes guidance as an input (`time_cond_proj_dim`) is asked once, and told the
/// weight, which is diffusers' `guidance_scale`.
///
/// Source: https://huggingface.co/docs/diffusers, version 0.42.1; Song et al. 2021 (arXiv 2010.02502) and Luo et al.
/// 2023 (arXiv 2310.04378) for the forms of process and guidance.
///
///     [teacher]
///     type = "diffusers"
///     folder = "my_unet"
#include <retort/plugin.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "../shared/diffusers_folder.h"
#include "../shared/mapped_tensors.h"
#include "../shared/network_teacher.h"

using namespace retort;

namespace {

constexpr int64_t usual_tokens = 77;  // CLIP's

std::string joined(const std::vector<int64_t>& numbers) {
  std::string out;
  for (const int64_t n : numbers) {
    out += (out.empty() ? "" : ",") + std::to_string(n);
  }
  return out;
}

std::string absolute(const std::string& path) {
  return path.empty() ? "" : std::filesystem::absolute(path).lexically_normal().string();
}

}  // namespace

class DiffusersTeacher final : public NetworkTeacher {
 public:
  explicit DiffusersTeacher(Params& p) : NetworkTeacher(p) {
    const std::string folder = p.path("folder", "", "of a pipeline or of a model");
    FolderSpelling spelling;
    spelling.add("subfolder", p.get("subfolder", "", "the model's, within a pipeline; empty: 'unet' or 'transformer'"));
    spelling.add("variant", p.get("variant", "", "of the weights' files, such as \"fp16\"; empty: the plain ones"));
    spelling.add("scheduler",
                 absolute(p.path("scheduler", "", "a scheduler_config.json, or its folder; empty: the folder's own")));
    const int64_t tokens = p.get("tokens", usual_tokens, "of each prompt_embeds, for text models", at_least(1));
    spelling.add("tokens", tokens == usual_tokens ? "" : std::to_string(tokens));
    add_size(p, spelling);
    const std::string file = read_unconditional(p);
    spelling.add("null_class", null_class_ ? "true" : "");
    spelling.add("lora", absolute(p.path("lora", "", "an adapter that is merged: a file, or the folder of one")));
    const double scale = p.get("lora_scale", 1.0, "factor of the adapter's change");
    spelling.add("lora_scale", scale == 1 ? "" : Value{scale, {}}.text());
    if (p.is_describing()) {
      return;
    }
    if (!std::filesystem::is_directory(folder)) {
      throw p.error("folder", (folder.empty() ? "missing" : folder + ": no such folder") +
                                  "; expected one that save_pretrained of diffusers wrote");
    }
    load_in_size(p, folder, spelling);
    is_told_guidance_ = spec_.has(retort::inputs::guidance);
    check_empty_prompt(p);
    if (null_class_ && spec_.classes() == 0) {
      throw p.error("unconditional", "\"null_class\" needs a model with classes; " + folder + " has none");
    }
    if (!file.empty()) {
      read_empty_prompt(p, file);
    }
  }

  std::vector<Input> inputs() const override {
    std::vector<Input> out = spec_.inputs;
    std::erase_if(out, [](const Input& input) { return input.name == retort::inputs::guidance; });
    return out;
  }
  int64_t cost() const override { return is_told_guidance_ ? 1 : NetworkTeacher::cost(); }

  Conditioning unconditional(const Conditioning& condition) const override {
    Conditioning out = NetworkTeacher::unconditional(condition);
    for (const char* name :
         {"time_ids", "attention_mask"}) {  // of the picture and of the tokens' places, not of a text
      out.set(name, condition[name]);
    }
    for (const auto& [name, row] : empty_prompt_) {
      if (const Tensor given = condition[name]; given.defined()) {
        out.set(name, row.to(given.options()).expand_as(given));
      }
    }
    return out;
  }

 private:
  static void add_size(Params& p, FolderSpelling& spelling) {
    const auto size = p.get("size", std::vector<int64_t>{},
                            "height and width of a sample; empty: config.json's, or the data set's", at_least(1));
    if (!size.empty() && size.size() != 2) {
      throw p.error("size", "has " + std::to_string(size.size()) + " numbers; expected height and width");
    }
    spelling.add("size", joined(size));
  }

  // A model that says no size is for that of the data.
  void load_in_size(Params& p, const std::string& folder, const FolderSpelling& spelling) {
    const std::vector<int64_t> shape = p.host().spec().shape;
    try {
      config_ = load(p, "folder", spelling.of(folder), folder);
    } catch (const RequestError&) {
      constexpr size_t dimensions = 3;  // channels, height, width
      if (shape.size() != dimensions) {
        throw;
      }
      FolderSpelling with_size = spelling;
      with_size.add("size_of_data", joined({shape[1], shape[2]}));
      config_ = load(p, "folder", with_size.of(folder), folder);
    }
  }

  // The file that it names, "" for a word.
  std::string read_unconditional(Params& p) {
    constexpr const char* doc =
        "\"zeros\", \"null_class\", or a safetensors file with prompt_embeds (and pooled_prompt_embeds) of an empty "
        "text; empty: zeros, where the pipeline says that they stand for it";
    if (!p.is_describing()) {
      const std::string word = p.get("unconditional", "", doc);
      null_class_ = word == "null_class";
      is_unconditional_given_ = !word.empty();
      if (null_class_ || word.empty() || word == "zeros") {
        return "";
      }
    }
    return p.path("unconditional", "", doc);
  }

  // What an empty text is to a model of texts is the pipeline's to say, or the user's.
  void check_empty_prompt(const Params& p) const {
    const bool guides = !is_told_guidance_ && (range_ || guidance_ != 1);
    const Value* source = config_.find("source");
    const bool says_zeros = source != nullptr && source->find("zeros_for_empty_prompt") != nullptr;
    if (guides && spec_.has("prompt_embeds") && !is_unconditional_given_ && !says_zeros) {
      throw p.error("unconditional",
                    "missing, and no model_index.json says force_zeros_for_empty_prompt = true; expected \"zeros\", or "
                    "a safetensors file with the embedding of an empty prompt");
    }
  }

  void read_empty_prompt(const Params& p, const std::string& file) {
    const std::map<std::string, Tensor> found = map_safetensors(file);
    for (const char* name : {"prompt_embeds", "pooled_prompt_embeds"}) {
      const Input* input = spec_.find(name);
      if (input == nullptr) {
        continue;
      }
      // A shard of latents keeps it beside the texts' own, as `uncond_NAME`.
      const auto beside = found.find(std::string("uncond_") + name);
      const auto tensor = beside != found.end() ? beside : found.find(name);
      if (tensor == found.end()) {
        throw p.error("unconditional", file + " has no '" + name + "', which the model is conditioned on");
      }
      std::vector<int64_t> shape = input->shape;
      shape.insert(shape.begin(), 1);
      if (tensor->second.sizes() != at::IntArrayRef(input->shape) && tensor->second.sizes() != at::IntArrayRef(shape)) {
        throw p.error("unconditional", file + ": '" + name + "' is of shape [" + joined(tensor->second.sizes().vec()) +
                                           "]; expected [" + joined(input->shape) + "]");
      }
      empty_prompt_.emplace(name, tensor->second.to(at::kFloat).reshape(shape));
    }
    if (empty_prompt_.empty()) {
      throw p.error("unconditional", "is a file, and the model is conditioned on no text; expected \"zeros\"" +
                                         std::string(spec_.classes() > 0 ? " or \"null_class\"" : ""));
    }
  }

  // A network that is told the weight is given log(1 + w), as all are.
  Conditioning network_inputs(const Conditioning& condition, const Tensor& x) const override {
    Conditioning out = NetworkTeacher::network_inputs(condition, x);
    if (is_told_guidance_) {
      const Tensor given = condition[retort::inputs::guidance];
      const Tensor w = given.defined() ? given : at::full({x.size(0)}, guidance_, at::kDouble);
      out.set(retort::inputs::guidance, w.log1p().to(x.options().dtype(at::kFloat)));
    }
    return out;
  }

  bool null_class_ = false, is_unconditional_given_ = false, is_told_guidance_ = false;
  Value config_;
  std::map<std::string, Tensor> empty_prompt_;
};

RETORT_PLUGIN(DiffusersTeacher, teacher, diffusers)
