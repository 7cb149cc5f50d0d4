#include "io/diffusers.h"

#include <torch/nn/module.h>

#include <set>

#include "io/diffusers_files.h"
#include "io/diffusers_lora.h"
#include "io/diffusers_network.h"
#include "io/diffusers_scheduler.h"

namespace retort {

namespace {

constexpr const char* source_key = "source";
}

Value read_diffusers_config(const DiffusersRequest& request, const Registry& registry) {
  const DiffusersFiles files = find_diffusers(request);
  const DiffusersNetwork network = read_diffusers_network(files, request, registry);
  Value out, model, source, table = network.table;
  source["folder"] = Value{files.component.string(), {}};
  source["class"] = Value{network.class_name, {}};
  if (network.is_autoencoder || request.of_autoencoder()) {  // it knows of no noise
    model["network"] = std::move(table);
    write_spec(network.spec, model);
    out["model"] = std::move(model);
    out[source_key] = std::move(source);
    return out;
  }
  if (files.scheduler.empty()) {
    throw RequestError(files.component.string() +
                       ": has no scheduler_config.json, which says the process and what the network predicts; save it "
                       "beside config.json with scheduler.save_pretrained, or name one by teacher.scheduler");
  }
  const DiffusersScheduler scheduler = read_diffusers_scheduler(files.scheduler);
  scheduler.times.write(table);
  model["network"] = std::move(table);
  model["process"] = scheduler.process;
  scheduler.parametrisation.write(model);
  write_spec(network.spec, model);
  if (json_at(files.pipeline, "force_zeros_for_empty_prompt") == true) {
    source["zeros_for_empty_prompt"] = Value{true, {}};
  }
  out["model"] = std::move(model);
  out[source_key] = std::move(source);
  return out;
}

Checkpoint read_diffusers(const DiffusersRequest& request, const Registry& registry) {
  Checkpoint out{{}, read_diffusers_config(request, registry)};
  const Value& source = *out.config.find(source_key);
  out.tensors = map_diffusers(std::get<std::string>(source.find("folder")->data), request.variant,
                              std::get<std::string>(source.find("class")->data), request.table);
  if (!request.lora.empty()) {
    merge_diffusers_lora(out.tensors, request.lora, request.lora_scale);
  }
  return out;
}

bool is_foreign(const Checkpoint& checkpoint) { return checkpoint.config.find(source_key) != nullptr; }

namespace {

// "unet/config.json: act_fn: …" of "unet/config.json:0: model.network.act_fn: …", on one line.
std::string about_config(std::string what) {
  const std::string mark = std::string(diffusers_config_name) + ":0: ", table = "network.";
  if (const size_t at = what.find(mark); at != std::string::npos) {
    const size_t path = at + mark.size(), key = what.find(table, path);
    const bool named = key != std::string::npos && what.find(':', path) > key;
    what.replace(at, (named ? key + table.size() : path) - at, std::string(diffusers_config_name) + ": ");
  }
  for (size_t at = what.find('\n'); at != std::string::npos; at = what.find('\n', at)) {
    what.replace(at, 1, "\\n");
  }
  return what;
}

std::string spelled(at::IntArrayRef shape) {
  std::string out;
  for (const int64_t n : shape) {
    out += (out.empty() ? "" : " x ") + std::to_string(n);
  }
  return out.empty() ? "a number" : out;
}

// Tables that older files hold and the network makes by itself.
bool is_made_anew(const std::string& name) {
  return name.ends_with("pos_embed.pos_embed") || name.ends_with("position_ids");
}

}  // namespace

RequestError foreign_error(const Checkpoint& checkpoint, const RequestError& error) {
  return is_foreign(checkpoint) ? RequestError(about_config(error.what())) : error;
}

void check_foreign_weights(const Checkpoint& checkpoint, Network& network,
                           const std::function<bool(const std::string&)>& is_new, int64_t outputs) {
  if (!is_foreign(checkpoint)) {
    return;
  }
  const Value* source = checkpoint.config.find(source_key);
  const std::string place = std::get<std::string>(source->find("folder")->data) + ": ";
  const std::string why = "; are weights and config.json of one model?";
  std::set<std::string> known;
  std::string missing;
  int64_t lacking = 0;
  const auto look_for = [&](const std::string& name, const Tensor& weights) {
    known.insert(name);
    const auto found = checkpoint.tensors.find(name);
    if (found == checkpoint.tensors.end()) {
      if (!is_new(name)) {
        missing = lacking++ == 0 ? name : missing;
      }
    } else if (outputs == 1 && found->second.sizes() != weights.sizes()) {
      throw RequestError(place + "the weights '" + name + "' are " + spelled(found->second.sizes()) +
                         ", and config.json amounts to " + spelled(weights.sizes()) + why);
    }
  };
  for (const auto& parameter : network.module()->named_parameters()) {
    look_for(parameter.key(), parameter.value());
  }
  for (const auto& buffer : network.module()->named_buffers()) {  // frequencies that were drawn once
    look_for(buffer.key(), buffer.value());
  }
  if (lacking > 0) {
    throw RequestError(place + "the weights '" + missing + "'" +
                       (lacking > 1 ? " and " + std::to_string(lacking - 1) + " more" : "") + " are missing" + why);
  }
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (!known.contains(name) && !is_made_anew(name)) {
      throw RequestError(place + "the weights '" + name + "' are none of its network's" + why);
    }
  }
}

}  // namespace retort
