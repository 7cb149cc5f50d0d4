#include "io/checkpoint.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <filesystem>

#include "io/hashes.h"
#include "io/json.h"
#include "io/low_rank.h"
#include "io/safetensors.h"

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
void merge_adapter(Checkpoint& adapter, const std::string& path, const std::vector<std::string>& bases) {
  Params p(*adapter.config.find("adapter"), "adapter", nullptr);
  const std::string base = find_base(path, p.get("base", "", ""), p.get("base_sha256", "", ""), bases);
  std::map<std::string, Tensor> weights = read_checkpoint(base).tensors;
  merge_low_rank(weights, adapter.tensors, p.get("scale", 1.0, ""), path);
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

Value read_checkpoint_config(const std::string& path) { return config_in(read_metadata(path), path); }

Checkpoint read_checkpoint(const std::string& path, const std::vector<std::string>& bases) {
  TensorFile file = read_safetensors(path);
  Checkpoint out{std::move(file.tensors), config_in(file.metadata, path)};
  if (out.config.find("adapter") != nullptr) {
    merge_adapter(out, path, bases);
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
  std::vector<int64_t> shape = weights.sizes().vec(), times(shape.size(), 1);
  if (shape.empty() || outputs == 1) {
    return {};
  }
  shape[0] *= outputs;
  times[0] = outputs;
  return at::IntArrayRef(shape) == wanted ? weights.repeat(times) : Tensor();
}

}  // namespace

std::shared_ptr<Network> build_network(Host& host, const Checkpoint& checkpoint, const std::string& path,
                                       const std::vector<Input>& more, int64_t outputs) {
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
  Params p(*checkpoint.config.find("model"), "model", &here);
  const std::shared_ptr<Network> network = p.plugin<Network>("network", "", "");
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
  const at::NoGradGuard no_grad;
  for (const auto& parameter : network->module()->named_parameters()) {
    const auto found = checkpoint.tensors.find(parameter.key());
    if (found == checkpoint.tensors.end() && is_new(parameter.key())) {
      continue;  // begins without effect
    }
    if (found == checkpoint.tensors.end()) {
      throw RequestError(path + ": lacks the weights '" + parameter.key() + "' of its network");
    }
    Tensor weights = parameter.value();
    const Tensor given = fitted(found->second, weights.sizes(), repeated);
    if (!given.defined()) {
      throw RequestError(path + ": the weights '" + parameter.key() + "' have another shape than its network's");
    }
    weights.copy_(given);
  }
  for (const auto& buffer : network->module()->named_buffers()) {
    const auto found = checkpoint.tensors.find(buffer.key());
    if (found != checkpoint.tensors.end() && found->second.sizes() == buffer.value().sizes()) {
      Tensor(buffer.value()).copy_(found->second);
    }
  }
  network->module()->eval();
  return network;
}

}  // namespace retort
