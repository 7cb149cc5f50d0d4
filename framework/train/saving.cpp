// What a training run leaves behind, and goes on from.
#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <cmath>
#include <sstream>

#include "io/checkpoint.h"
#include "io/files.h"
#include "io/hashes.h"
#include "io/json.h"
#include "io/names.h"
#include "io/safetensors.h"
#include "log.h"
#include "train/trainer.h"

namespace retort {

namespace fs = std::filesystem;

fs::path Trainer::checkpoint_path(const fs::path& folder, int64_t step) {
  return folder / "checkpoints" / ("step_" + step_number(step) + ".safetensors");
}

namespace {
fs::path state_path(const fs::path& folder) { return folder / "checkpoints" / "state.safetensors"; }

TrainingRecord saved_record(const fs::path& folder) {
  if (!fs::exists(state_path(folder))) {
    return {};
  }
  const std::map<std::string, std::string> metadata = read_metadata(state_path(folder));
  const auto found = metadata.find("state");
  const Json state = found != metadata.end() ? Json::parse(found->second, nullptr, false) : Json();
  if (!state.is_object()) {
    return {};
  }
  return {state.value("step", int64_t{0}), state.value("teacher_evaluations", int64_t{0}),
          state.value("remembered", int64_t{0}), state.value("seconds", 0.0)};
}
}  // namespace

int64_t Trainer::saved_step(const fs::path& folder) { return saved_record(folder).step; }

std::optional<int64_t> Trainer::last_step(const fs::path& folder, const TrainSettings& settings) {
  const Budget budget(settings);
  TrainingRecord record;
  record.step = settings.steps;
  if (!budget.counts_steps_alone()) {
    record = saved_record(folder);
  }
  const bool there = budget.is_over(record) && fs::exists(checkpoint_path(folder, record.step));
  return there ? std::optional(record.step) : std::nullopt;
}

void Trainer::save_state() const {
  if (!group_.first()) {
    return;
  }
  TensorFile file;
  trained_.store("weights/", trained_.tensors, file.tensors);
  if (!average_.empty()) {
    trained_.store("average/", average_, file.tensors);
  }
  averages_.store(file.tensors);
  roles_->store(file.tensors);
  optimizer_.store(file.tensors);
  Json state = {{"step", record_.step},
                {"teacher_evaluations", record_.teacher_evaluations},
                {"remembered", record_.remembered},
                {"seconds", record_.seconds},
                {"loss_sum", loss_sum_},
                {"loss_count", loss_count_},
                {"student_steps", student_steps_},
                {"stage", stage_},
                {"stage_begin", stage_begin_},
                {"loss_scale", loss_scale_.factor()},
                {"good_steps", loss_scale_.good_steps()}};
  if (!averages_.empty()) {
    state["averages"] = averages_.described();
  }
  if (gradient_norm_.defined()) {  // the student's last one, which steps that do not train it tell again
    state["gradient_norm"] = gradient_norm_.item<double>();
  }
  for (const auto& [name, noted] : noted_) {
    state["noted"][name] = {noted.sum.item<double>(), noted.count};
  }
  file.metadata["state"] = spell(state);
  write_safetensors(state_path(folder_), file);
}

// The first process's saved state is everybody's: each may have a disk of its own.
void Trainer::restore_state() {
  const fs::path path = state_path(folder_);
  if (!group_.from_first(fs::exists(path))) {
    begin_log();
    return;
  }
  TensorFile file;
  if (group_.size() == 1) {
    file = read_safetensors(path);
  } else {
    std::string bytes = group_.from_first(group_.first() ? read_text(path) : std::string());
    const uint64_t size = bytes.size();
    std::istringstream in(std::move(bytes));
    file = read_safetensors(in, size, path.string());
  }
  Json averages;
  try {
    const Json state = Json::parse(file.metadata.at("state"));
    averages = state.value("averages", Json());
    record_ = {state.at("step"), state.at("teacher_evaluations"), state.at("remembered"), state.at("seconds")};
    loss_sum_ = state.at("loss_sum");
    loss_count_ = state.at("loss_count");
    student_steps_ = state.value("student_steps", record_.step);  // of before there were rhythms and stages
    stage_ = state.at("stage");
    stage_begin_ = state.at("stage_begin");
    loss_scale_.restore(state.at("loss_scale"), state.at("good_steps"));
    if (const Json norm = state.value("gradient_norm", Json()); norm.is_number()) {
      gradient_norm_ = at::scalar_tensor(norm.get<double>(), at::kDouble);
    }
    const Json of_loss = state.value("noted", Json::object());
    for (const auto& [name, noted] : of_loss.items()) {
      const double sum = noted.at(0).is_number() ? noted.at(0).get<double>() : std::nan("");
      noted_[name] = {at::scalar_tensor(sum, at::kDouble), noted.at(1).get<int64_t>()};
    }
  } catch (const std::exception&) {
    throw RequestError(path.string() + ": is no saved state of a training run");
  }
  trained_.assign(trained_.restore("weights/", file.tensors));
  if (!average_.empty()) {
    average_ = trained_.restore("average/", file.tensors);
  }
  averages_.restore(file.tensors, averages);
  if (adapter_) {
    adapter_->apply();
  }
  roles_->restore(file.tensors);
  optimizer_.restore(file.tensors);
  begin_log();
  if (group_.first() && !budget_.is_over(record_)) {
    log::info("goes on from step " + std::to_string(record_.step));
  }
}

// What is evaluated: merged weights as any checkpoint, and beside it, where there is one, the adapter alone, which is
// all there is where the weights are not merged.
void Trainer::save_weights() const {
  if (!group_.first()) {
    return;
  }
  const std::vector<Tensor>& values =
      experiment_.evaluate->last_weights || average_.empty() ? trained_.tensors : average_;
  Value config;
  config["model"] = experiment_.model_table();
  config["model"]["objective"] = Value{std::string(name_of(experiment_.loss->makes())), {}};
  config["experiment"] = experiment_.resolved();
  Json json = to_json(config);
  json["training"] = {{"step", record_.step},
                      {"teacher_evaluations", record_.teacher_evaluations},
                      {"remembered", record_.remembered},
                      {"seconds", record_.seconds}};
  if (!averages_.empty()) {
    json["training"]["averages"] = averages_.described();
  }
  const fs::path path = checkpoint_path(folder_, record_.step);
  TensorFile file;
  file.metadata["format"] = "pt";
  if (adapter_) {
    trained_.store("", values, file.tensors);
    const std::string& base = experiment_.teacher_checkpoint();
    Json own = json;
    own["adapter"] = {{"base", fs::proximate(base, path.parent_path()).string()},
                      {"base_sha256", content_hash(base)},
                      {"scale", adapter_->scale()}};
    file.metadata["retort"] = spell(own);
    write_safetensors(adapter_of(path), file);
    write_text(path.parent_path() / "adapter_config.json",
               spell(adapter_->peft_config(own["adapter"]["base"].get<std::string>()), 1) + "\n");
    if (!adapter_->is_merged()) {
      write_safetensors(path, file);
      return;
    }
    file.tensors.clear();
  }
  weights_.store("", adapter_ ? adapter_->merged(values) : values, file.tensors);
  file.metadata["retort"] = spell(json);
  write_safetensors(path, file);
}

TrainingRecord Trainer::record(const Checkpoint& checkpoint) {
  TrainingRecord out;
  if (const Value* training = checkpoint.config.find("training")) {
    Params p(*training, "training", nullptr);
    out.step = p.get("step", 0, "");
    out.teacher_evaluations = p.get("teacher_evaluations", 0, "");
    out.remembered = p.get("remembered", 0, "");
    out.seconds = p.get("seconds", 0.0, "");
  }
  return out;
}

}  // namespace retort
