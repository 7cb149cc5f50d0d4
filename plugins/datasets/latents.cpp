/// Latents of an autoencoder with what a text encoder made of their captions, computed once and kept in files.
///
/// `folder` holds shards, .safetensors files of any size. Each has a tensor `latents` [n, C, H, W] and, if you like,
/// others of n rows: `prompt_embeds` [n, L, D], `pooled_prompt_embeds` [n, P], `time_ids` [n, 6], `attention_mask` [n,
/// L], `labels` [n], or any other input of a model, by its name. All shards have the same tensors. float16, bfloat16
/// and float32 come out as float32, the mask as booleans, labels as whole numbers from 0. Only the rows of a batch are
/// read from the disk. Batches are drawn from all shards, and a training goes on at the sample where it stopped.
///
/// Latents are what the model sees: already shifted and scaled, which the files' metadata should say, `scaling_factor`
/// and `shift`. Latents as an autoencoder gives them are scaled by the keys of the same names, to (z - shift) *
/// scaling_factor.
///
/// Tensors `uncond_prompt_embeds` [L, D], `uncond_pooled_prompt_embeds` [P] and so on, of a shard or of a file of their
/// own in the folder, are the conditions of an empty prompt. With `unconditional_every` = 10, the training split has
/// each sample ten times, the tenth with these. Otherwise a row that loses its conditions has zeros, as in SDXL.
/// Source: Rombach et al. 2022 (arXiv 2112.10752), section 3.3; Podell et al. 2023 (arXiv 2307.01952), section 2.2.
///
///     [dataset]
///     type = "latents"
///     folder = "latents"             # latents/0000.safetensors, latents/0001.safetensors, …
///     test_every = 10
#include <retort/dataset.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../shared/latent_shards.h"

using namespace retort;

namespace {

constexpr std::string_view mask_name = "attention_mask";

}  // namespace

class Latents final : public Dataset {
 public:
  explicit Latents(Params& p)
      : scale_(
            p.get("scaling_factor", 1.0, "what latents are multiplied by; 1: they are scaled already", more_than(0))),
        shift_(p.get("shift", 0.0, "what is subtracted from them before")) {
    const std::string folder = p.path("folder", "", "folder of safetensors files, or one of them");
    const std::string test = p.path("test_folder", "", "the same for the test split; empty: by `test_every`");
    const int64_t test_every = p.get("test_every", 10, "every so many-th sample is for testing", at_least(2));
    names_ = p.get("inputs", std::vector<std::string>{}, "tensors that are given beside the latents; empty: all");
    repeats_ = p.get("unconditional_every", 0,
                     "times that the training split has each sample, the last without its prompt; 0: once, with it",
                     between(0, 1000));
    const int64_t classes = p.get("classes", 0, "of `labels`; 0: the greatest label and one", at_least(0));
    if (p.is_describing()) {
      return;
    }
    if (folder.empty()) {
      throw p.error("folder", "missing; expected a folder of safetensors files with latents");
    }
    sources_[0] = std::make_shared<const LatentShards>(folder);
    split(p, test, test_every);
    check_scaling(p);
    take_inputs(p);
    take_labels(classes);
    take_unconditional(p);
  }

  std::vector<int64_t> shape() const override { return sources_[0]->layout().at(LatentShards::latents).row_shape(); }
  int64_t classes() const override { return classes_; }
  std::vector<Input> inputs() const override { return inputs_; }
  int64_t size(Split split) const override { return index_[part(split)].size(0) * times(split); }

  Tensor labels(Split split) const override {
    if (classes_ == 0) {
      return {};
    }
    return labels_[part(split)].index_select(0, index_[part(split)]).repeat({times(split)});
  }

  Batch batch(Split split, const Tensor& index) const override {
    const Tensor& all = index_[part(split)];
    const int64_t n = all.size(0);
    if (index.numel() > 0 && (index.min().item<int64_t>() < 0 || index.max().item<int64_t>() >= size(split))) {
      throw Error("latents are asked for a sample beyond the " + std::to_string(size(split)) + " of the split");
    }
    const auto rows = sources_[part(split)]->rows(all.index_select(0, index.remainder(n)), wanted_);
    Batch out{(rows.at(LatentShards::latents) - shift_) * scale_, {}};
    for (const Input& input : inputs_) {
      out.condition.set(input.name, rows.at(input.name).to(input.dtype));
    }
    if (times(split) > 1) {
      drop(out.condition, index >= n * (times(split) - 1));
    }
    return out;
  }

  std::string notes() const override {
    std::string out;
    for (size_t i = 0; i < 2; ++i) {
      const int64_t others = sources_[i]->others();
      if (others > 0 && (i == 0 || sources_[1] != sources_[0])) {
        out += (out.empty() ? "" : ", ") + std::to_string(others) + " in " + sources_[i]->source();
      }
    }
    return out.empty() ? "" : "left out are entries that are no .safetensors: " + out;
  }

 private:
  static size_t part(Split split) { return split == Split::train ? 0 : 1; }
  int64_t times(Split split) const { return split == Split::train ? std::max<int64_t>(repeats_, 1) : 1; }

  // By order through all shards, as `image_folder` does; or a folder each.
  void split(const Params& p, const std::string& test, int64_t test_every) {
    sources_[1] = test.empty() ? sources_[0] : std::make_shared<const LatentShards>(test);
    sources_[0]->check_alike(*sources_[1]);
    const Tensor index = at::arange(sources_[0]->size(), at::kLong);
    if (!test.empty()) {
      index_[0] = index;
      index_[1] = at::arange(sources_[1]->size(), at::kLong);
    } else {
      const Tensor kept = at::remainder(index, test_every) == test_every - 1;
      index_[0] = at::nonzero(kept.logical_not()).view({-1});
      index_[1] = kept.any().item<bool>() ? at::nonzero(kept).view({-1}) : index_[0];
    }
    for (size_t i = 0; i < 2; ++i) {
      if (index_[i].size(0) == 0) {
        throw p.error(i == 0 ? "folder" : "test_folder", sources_[i]->source() + " holds no latents; expected some");
      }
    }
  }

  // What is scaled already is not scaled again, and both splits alike.
  void check_scaling(const Params& p) const {
    for (const char* key : {"scaling_factor", "shift"}) {
      const std::optional<double> said = sources_[0]->number(key);
      if (said != sources_[1]->number(key)) {
        throw p.error("test_folder",
                      sources_[1]->source() + " has another " + key + " in its metadata than " + sources_[0]->source());
      }
      if (said && p.given(key)) {
        throw p.error(key, "the metadata of " + sources_[0]->first().path() +
                               " say that its latents are shifted and scaled already; expected no " + key);
      }
    }
  }

  void take_inputs(const Params& p) {
    std::map<std::string, StoredTensor> layout = sources_[0]->layout();
    layout.erase(LatentShards::latents);
    for (const std::string& name : names_) {
      if (!layout.contains(name)) {
        std::string known;
        for (const auto& [other, tensor] : layout) {
          known += (known.empty() ? "" : ", ") + other;
        }
        throw p.error("inputs", "'" + name + "' is no tensor of " + sources_[0]->first().path() + "; expected " +
                                    (known.empty() ? "none" : "some of " + known));
      }
    }
    wanted_.emplace_back(LatentShards::latents);
    for (const auto& [name, tensor] : layout) {
      if (!names_.empty() && std::find(names_.begin(), names_.end(), name) == names_.end()) {
        continue;
      }
      if (name == inputs::guidance || name == inputs::end_time) {
        throw sources_[0]->first().error("tensor '" + name + "' is what no data set has; expected another name");
      }
      wanted_.push_back(name);
      if (name != inputs::labels) {
        inputs_.push_back(
            {.name = name, .shape = tensor.row_shape(), .dtype = name == mask_name ? at::kBool : at::kFloat});
      }
    }
    const auto prompt = layout.find("prompt_embeds"), mask = layout.find(std::string(mask_name));
    if (prompt != layout.end() && mask != layout.end() &&
        (prompt->second.shape.size() != 3 || mask->second.row_shape() != std::vector{prompt->second.shape[1]})) {
      throw sources_[0]->first().error(
          "tensors 'prompt_embeds' and 'attention_mask' have other shapes than [n, L, D] "
          "and [n, L]");
    }
  }

  void take_labels(int64_t classes) {
    const std::string name(inputs::labels);
    if (std::find(wanted_.begin(), wanted_.end(), name) == wanted_.end()) {
      return;
    }
    classes_ = classes;
    for (size_t i = 0; i < 2; ++i) {
      const SafetensorsRows& first = sources_[i]->first();
      const StoredTensor& stored = *first.find(name);
      if (stored.shape.size() != 1 || !at::isIntegralType(stored.type, false)) {
        throw first.error("tensor 'labels' is no list of whole numbers; expected a label for each sample");
      }
      labels_[i] = sources_[i]->column(name);
      const auto least = labels_[i].min().item<int64_t>(), most = labels_[i].max().item<int64_t>();
      if (least < 0 || (classes > 0 && most >= classes)) {
        throw RequestError(sources_[i]->source() + ": tensor 'labels' has " + std::to_string(least < 0 ? least : most) +
                           "; expected labels from 0" + (classes > 0 ? " to " + std::to_string(classes - 1) : " on"));
      }
      classes_ = std::max(classes_, most + 1);
    }
    const std::vector<Input> own = label_inputs(classes_);
    inputs_.insert(inputs_.begin(), own.begin(), own.end());
  }

  void take_unconditional(const Params& p) {
    for (const auto& [name, tensor] : sources_[0]->unconditional()) {
      const auto input = std::find_if(inputs_.begin(), inputs_.end(), [&](const Input& i) { return i.name == name; });
      if (input == inputs_.end()) {
        continue;  // of one that is not given
      }
      std::vector<int64_t> with_row = input->shape;
      with_row.insert(with_row.begin(), 1);
      if (tensor.sizes() != at::IntArrayRef(input->shape) && tensor.sizes() != at::IntArrayRef(with_row)) {
        throw RequestError(sources_[0]->source() + ": tensor 'uncond_" + name + "' has another shape than a row of '" +
                           name + "'; expected the same");
      }
      unconditional_[name] = tensor.reshape(with_row).to(input->dtype);
    }
    if (repeats_ > 0 && unconditional_.empty()) {
      throw p.error("unconditional_every", "there is no tensor such as 'uncond_prompt_embeds' in " +
                                               sources_[0]->source() + "; expected one, or 0");
    }
    if (repeats_ == 1) {
      throw p.error("unconditional_every", "is 1, which leaves no sample its prompt; expected 0, or 2 or more");
    }
  }

  // without: [B] bool, the rows that have what belongs to an empty prompt.
  void drop(Conditioning& condition, const Tensor& without) const {
    for (const auto& [name, none] : unconditional_) {
      const Tensor given = condition[name];
      std::vector<int64_t> shape(static_cast<size_t>(given.dim()), 1);
      shape[0] = given.size(0);
      condition.set(name, at::where(without.view(shape), none, given));
    }
  }

  double scale_, shift_;
  std::vector<std::string> names_;
  int64_t repeats_ = 0, classes_ = 0;
  std::shared_ptr<const LatentShards> sources_[2];  // of the training and the test split; perhaps one
  Tensor index_[2];                                 // which samples of these belong to the split
  Tensor labels_[2];                                // of all samples of the sources
  std::vector<std::string> wanted_;                 // the tensors that are read
  std::vector<Input> inputs_;
  std::map<std::string, Tensor> unconditional_;  // [1, …] of each, by input
};

RETORT_PLUGIN(Latents, dataset, latents)
