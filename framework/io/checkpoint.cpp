#include "io/checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/DimVector.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "io/diffusers.h"
#include "io/diffusers_times.h"
#include "io/hashes.h"
#include "io/json.h"
#include "io/low_rank.h"
#include "io/mapped.h"
#include "io/safetensors.h"
#include "retort/new_weights.h"

namespace retort {

namespace {

// A host that builds networks for the task of a checkpoint, whatever the experiment's is.
class HostForModel final : public Host {
 public:
  HostForModel(Host& host, ModelSpec spec) : host_(host), spec_(std::move(spec)) {}
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override {
    return host_.make(kind, name, params);
  }
  const Process& process() const override { return host_.process(); }
  bool process_given() const override { return host_.process_given(); }
  ModelSpec spec() const override { return spec_; }
  const Backend& backend() const override { return host_.backend(); }
  Checkpoint checkpoint(const std::string& path) override { return host_.checkpoint(path); }
  std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) override {
    return host_.network(checkpoint, path);
  }

 private:
  Host& host_;
  ModelSpec spec_;
};

}  // namespace

namespace {

// The checkpoint that an adapter changes: known by its content, wherever it is.
std::string find_base(const std::string& adapter, const std::string& recorded, const std::string& hash,
                      std::vector<std::string> bases) {
  const std::filesystem::path place(recorded);
  bases.insert(bases.begin(),
               place.is_relative() ? (std::filesystem::path(adapter).parent_path() / place).string() : recorded);
  std::string seen;
  for (const std::string& base : bases) {
    const std::string content = base.empty() ? "" : content_hash(base);
    if (content == hash && !hash.empty()) {
      return base;
    }
    if (!base.empty()) {
      seen += (seen.empty() ? "" : ", ") + base + (content.empty() ? " is missing" : " is another file");
    }
  }
  throw RequestError(adapter + ": is an adapter of a checkpoint that is not found (" + seen +
                     "); student.base names where it is now");
}

// The base with the adapter's change added to its weights.
void merge_adapter(Checkpoint& adapter, const std::string& path, const std::vector<std::string>& bases,
                   const Registry* registry, double scale) {
  Params p(*adapter.config.find("adapter"), "adapter", nullptr);
  const std::string base = find_base(path, p.get("base", "", ""), p.get("base_sha256", "", ""), bases);
  std::map<std::string, Tensor> weights = read_checkpoint(base, {}, registry).tensors;
  merge_low_rank(weights, adapter.tensors, scale * p.get("scale", 1.0, ""), path);
  adapter.tensors = std::move(weights);
}

}  // namespace

const char* name_of(Makes makes) {
  switch (makes) {
    case Makes::denoiser:
      return "denoiser";
    case Makes::consistency:
      return "consistency model";
    case Makes::flow_map:
      return "flow map";
    case Makes::generator:
      return "one-step generator";
    case Makes::classifier:
      return "classifier";
    case Makes::policy:
      return "policy";
    case Makes::autoencoder:
      return "autoencoder";
    case Makes::embedding:
      return "embedding";
  }
  return "";
}

namespace {

Value config_in(const std::map<std::string, std::string>& metadata, const std::string& path) {
  const auto found = metadata.find("retort");
  if (found == metadata.end()) {
    throw RequestError(path +
                       (metadata.contains("state")
                            ? ": is the saved state of a training run; expected one of the checkpoints beside it"
                            : ": is a safetensors file, but no checkpoint of Retort (its metadata lacks 'retort')"));
  }
  Value out;
  try {
    out = from_json(Json::parse(found->second), path);
  } catch (const Json::exception&) {
    throw RequestError(path + ": is a damaged checkpoint (its metadata is no JSON)");
  }
  const Value* model = out.find("model");
  if (model == nullptr || !model->is_table() || model->find("network") == nullptr) {
    throw RequestError(path + ": is a checkpoint without a model");
  }
  return out;
}

}  // namespace

namespace {

// The plugins of the tree, for those who bring no registry.
const Registry& own_registry() {
  static const Registry all(plugin_folders({}));
  return all;
}

}  // namespace

Value read_checkpoint_config(const std::string& path, const Registry* registry) {
  if (const auto request = diffusers_request(path)) {
    return read_diffusers_config(*request, registry != nullptr ? *registry : own_registry());
  }
  return config_in(read_metadata(path), path);
}

Checkpoint read_checkpoint(const std::string& path, const std::vector<std::string>& bases, const Registry* registry,
                           double adapter_scale) {
  if (const auto request = diffusers_request(path)) {
    return read_diffusers(*request, registry != nullptr ? *registry : own_registry());
  }
  TensorFile file = read_safetensors(path);
  Checkpoint out{std::move(file.tensors), config_in(file.metadata, path)};
  if (out.config.find("adapter") != nullptr) {
    merge_adapter(out, path, bases, registry, adapter_scale);
  }
  return out;
}

namespace {

std::string sizes_of(const std::vector<int64_t>& shape) {
  std::string out;
  for (const int64_t n : shape) {
    out += (out.empty() ? "" : " x ") + std::to_string(n);
  }
  return out;
}

std::string text_of(const Value* value) {
  const std::string* text = value != nullptr ? std::get_if<std::string>(&value->data) : nullptr;
  return text != nullptr ? *text : value != nullptr ? value->text() : "";
}

std::string described_inputs(const ModelSpec& spec) {
  std::string out;
  for (const Input& input : spec.inputs) {
    out += (out.empty() ? "" : ", ") + input.name;
    out += input.classes > 0 ? " (" + std::to_string(input.classes) + " classes)" : "";
    out += input.shape.empty() ? "" : " " + sizes_of(input.shape);
  }
  return out.empty() ? "nothing" : out;
}

}  // namespace

std::string describe_checkpoint(const std::string& path, const Registry& registry) {
  const Checkpoint checkpoint = read_checkpoint(path, {}, &registry);
  const Value& model = *checkpoint.config.find("model");
  const ModelSpec spec = checkpoint.spec();
  int64_t numbers = 0;
  std::set<std::string> types;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    numbers += tensor.numel();
    types.insert(c10::toString(tensor.scalar_type()));
  }
  std::string out = path + "\n";
  const auto line = [&](const std::string& what, const std::string& is) { out += "  " + what + ": " + is + "\n"; };
  if (const Value* source = checkpoint.config.find("source")) {
    line("class", text_of(source->find("class")));
  }
  const Value& network = *model.find("network");
  line("network", text_of(network.is_table() ? network.find("type") : &network));
  std::string list;
  for (const std::string& type : types) {
    list += (list.empty() ? "" : ", ") + type;
  }
  line("weights",
       std::to_string(checkpoint.tensors.size()) + " tensors, " + std::to_string(numbers) + " numbers, " + list);
  line("samples", sizes_of(spec.shape));
  line("is given", described_inputs(spec));
  if (const Value* process = model.find("process")) {
    line("process", process->text());
    line("predicts", text_of(model.find("parametrisation")));
    line("sees", model.find("preconditioning") != nullptr ? text_of(model.find("preconditioning")) : "auto");
  }
  if (network.is_table()) {
    line("keys of the network", network.text());
  }
  return out;
}

namespace {

// A checkpoint's weights as a network of that shape wants them: where that gives several samples' worth, the rows of
// its last layer are the checkpoint's, once for each. Undefined where they do not fit.
Tensor fitted(const Tensor& weights, at::IntArrayRef wanted, int64_t outputs) {
  if (weights.sizes() == wanted) {
    return weights;
  }
  at::DimVector shape(weights.sizes().begin(), weights.sizes().end()), times(shape.size(), 1);
  if (shape.empty() || outputs == 1) {
    return {};
  }
  shape[0] *= outputs;
  times[0] = outputs;
  return at::IntArrayRef(shape) == wanted ? weights.repeat(times) : Tensor();
}

// Gives a network's weight the numbers of a checkpoint: a copy, or, of a mapped file, its own bytes.
void fill(Tensor weights, const Tensor& given, FileWeights how) {
  if (how == FileWeights::in_place && is_mapped(given)) {
    NewWeights::put(weights, given);
  } else if (weights.is_meta()) {
    NewWeights::put(weights, given.to(weights.scalar_type(), /*non_blocking=*/false, /*copy=*/true));
  } else {
    weights.copy_(given);
  }
}

}  // namespace

std::shared_ptr<Network> build_network(Host& host, const Checkpoint& checkpoint, const std::string& path,
                                       const std::vector<Input>& more, int64_t outputs, FileWeights file_weights) {
  ModelSpec spec = checkpoint.spec();
  const int64_t repeated = spec.outputs == 1 ? outputs : 1;
  spec.outputs *= repeated;
  std::vector<std::string> added;
  for (const Input& input : more) {
    if (!spec.has(input.name)) {
      spec.inputs.push_back(input);
      added.push_back(input.name);
    }
  }
  HostForModel here(host, spec);
  Value model = *checkpoint.config.find("model");
  const ForeignTimes times = ForeignTimes::take(model["network"]);
  Params p(model, "model", &here);
  const std::shared_ptr<Network> network = [&] {
    // All weights of a foreign model are in its files, so none need be made before.
    std::optional<NewWeights::OnMeta> without_memory;
    if (is_foreign(checkpoint) && more.empty()) {
      without_memory.emplace();
    }
    try {
      return times.around(p.plugin<Network>("network", "", ""));
    } catch (const RequestError& e) {
      throw foreign_error(checkpoint, e);
    }
  }();
  std::vector<std::string> new_weights;  // how the names of those begin that the checkpoint lacks
  for (const std::string& input : added) {
    new_weights.push_back(network->weights_of(input));
    if (new_weights.back().empty()) {
      throw RequestError(path + ": its network takes no input '" + input + "'; networks 'unet' and 'mlp' do" +
                         (input == inputs::guidance ? ", or fix teacher.guidance" : ""));
    }
  }
  const auto is_new = [&](const std::string& name) {
    return std::any_of(new_weights.begin(), new_weights.end(),
                       [&](const std::string& prefix) { return name.starts_with(prefix); });
  };
  check_foreign_weights(checkpoint, *network, is_new, repeated);
  const at::NoGradGuard no_grad;
  for (const auto& parameter : network->module()->named_parameters()) {
    const auto found = checkpoint.tensors.find(parameter.key());
    if (found == checkpoint.tensors.end() && is_new(parameter.key())) {
      continue;  // begins without effect
    }
    if (found == checkpoint.tensors.end()) {
      throw RequestError(path + ": lacks the weights '" + parameter.key() + "' of its network");
    }
    const Tensor weights = parameter.value();
    const Tensor given = fitted(found->second, weights.sizes(), repeated);
    if (!given.defined()) {
      throw RequestError(path + ": the weights '" + parameter.key() + "' have another shape than its network's");
    }
    fill(weights, given, file_weights);
  }
  for (const auto& buffer : network->module()->named_buffers()) {
    const auto found = checkpoint.tensors.find(buffer.key());
    if (found != checkpoint.tensors.end() && found->second.sizes() == buffer.value().sizes()) {
      fill(buffer.value(), found->second, file_weights);
    }
  }
  network->module()->eval();
  return network;
}

}  // namespace retort
