#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <fstream>

#include "io/files.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "interrupt.h"
#include "log.h"

namespace retort {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

fs::path Trainer::checkpoint_path(const fs::path& folder, int64_t step) {
  std::string number = std::to_string(step);
  number.insert(0, number.size() < 6 ? 6 - number.size() : 0, '0');
  return folder / "checkpoints" / ("step_" + number + ".safetensors");
}

Trainer::Trainer(Experiment& experiment, fs::path folder)
    : experiment_(experiment),
      folder_(std::move(folder)),
      network_(experiment.new_network()),
      weights_(*network_),
      optimizer_(weights_, *experiment.train),
      loss_scale_(experiment.training_backend().loss_scale()) {
  if (experiment_.loss->target_decay() > 0) {
    target_network_ = experiment_.new_network();
    Weights(*target_network_).assign(weights_.tensors);
    target_network_->module()->eval();
  }
  if (experiment_.train->ema > 0) {
    average_ = weights_.copy();
  }
  make_folder(folder_ / "checkpoints");
  restore_state();
}

namespace {
fs::path state_path(const fs::path& folder) { return folder / "checkpoints" / "state.safetensors"; }
}  // namespace

void Trainer::save_state() const {
  TensorFile file;
  weights_.store("weights/", weights_.tensors, file.tensors);
  if (!average_.empty()) {
    weights_.store("average/", average_, file.tensors);
  }
  if (target_network_) {
    weights_.store("target/", Weights(*target_network_).tensors, file.tensors);
  }
  optimizer_.store(file.tensors);
  const Json state = {{"step", record_.step},
                      {"teacher_evaluations", record_.teacher_evaluations},
                      {"seconds", record_.seconds},
                      {"loss_sum", loss_sum_},
                      {"loss_count", loss_count_},
                      {"loss_scale", loss_scale_.factor()},
                      {"good_steps", loss_scale_.good_steps()}};
  file.metadata["state"] = state.dump();
  write_safetensors(state_path(folder_), file);
}

void Trainer::restore_state() {
  if (!fs::exists(state_path(folder_))) {
    write_text(folder_ / "metrics.jsonl", "");
    return;
  }
  const TensorFile file = read_safetensors(state_path(folder_));
  try {
    const Json state = Json::parse(file.metadata.at("state"));
    record_ = {state.at("step"), state.at("teacher_evaluations"), state.at("seconds")};
    loss_sum_ = state.at("loss_sum");
    loss_count_ = state.at("loss_count");
    loss_scale_.restore(state.at("loss_scale"), state.at("good_steps"));
  } catch (const std::exception&) {
    throw RequestError(state_path(folder_).string() + ": is no saved state of a training run");
  }
  weights_.assign(weights_.restore("weights/", file.tensors));
  if (!average_.empty()) {
    average_ = weights_.restore("average/", file.tensors);
  }
  if (target_network_) {
    Weights(*target_network_).assign(weights_.restore("target/", file.tensors));
  }
  optimizer_.restore(file.tensors);
  // Lines of steps after the saved one will be written again.
  std::ifstream lines(folder_ / "metrics.jsonl");
  std::string kept;
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("step", record_.step + 1) <= record_.step) {
      kept += line + "\n";
    }
  }
  write_text(folder_ / "metrics.jsonl", kept);
  if (record_.step < experiment_.train->steps) {
    log::info("goes on from step " + std::to_string(record_.step));
  }
}

void Trainer::save_weights() const {
  TensorFile file;
  const bool last = experiment_.evaluate->last_weights || average_.empty();
  weights_.store("", last ? weights_.tensors : average_, file.tensors);
  Value config;
  config["model"] = experiment_.model_table();
  config["experiment"] = experiment_.resolved();
  Json json = to_json(config);
  json["training"] = {
      {"step", record_.step}, {"teacher_evaluations", record_.teacher_evaluations}, {"seconds", record_.seconds}};
  file.metadata["format"] = "pt";
  file.metadata["retort"] = json.dump();
  write_safetensors(checkpoint_path(folder_, record_.step), file);
}

TrainingRecord Trainer::record(const Checkpoint& checkpoint) {
  TrainingRecord out;
  if (const Value* training = checkpoint.config.find("training")) {
    Params p(*training, "training", nullptr);
    out.step = p.get("step", 0, "");
    out.teacher_evaluations = p.get("teacher_evaluations", 0, "");
    out.seconds = p.get("seconds", 0.0, "");
  }
  return out;
}

// Batches run through one shuffled epoch after another; the order depends on the seed and the epoch alone.
Batch Trainer::load_batch(int64_t index) {
  const int64_t size = experiment_.dataset->size(Split::train);
  const int64_t batch = experiment_.train->batch;
  std::vector<Tensor> parts;
  for (int64_t at = index * batch; at < (index + 1) * batch;) {
    const int64_t epoch = at / size;
    if (epoch != epoch_) {
      epoch_ = epoch;
      order_ = at::randperm(size,
                            seeded(static_cast<uint64_t>(experiment_.run->seed), "order", static_cast<uint64_t>(epoch)),
                            at::TensorOptions().dtype(at::kLong));
    }
    const int64_t count = std::min((index + 1) * batch - at, (epoch + 1) * size - at);
    parts.push_back(order_.narrow(0, at - epoch * size, count));
    at += count;
  }
  Batch out = experiment_.dataset->batch(Split::train, at::cat(parts));
  const Backend& backend = experiment_.backend();
  out.x = out.x.to(backend.device(), backend.dtype());
  if (experiment_.classes() == 0) {
    out.condition = {};
  } else if (out.condition.labels.defined()) {
    out.condition.labels = out.condition.labels.to(backend.device());
  }
  return out;
}

// While one batch is trained on, a thread prepares the next.
Batch Trainer::next_batch(int64_t index) {
  Batch out = ahead_.valid() && ahead_index_ == index ? ahead_.get() : load_batch(index);
  if (index + 1 < experiment_.train->steps * experiment_.train->accumulate) {
    ahead_index_ = index + 1;
    ahead_ = std::async(std::launch::async, [this, index] {
      const c10::ParallelGuard alone(true);  // the cores are at work already
      return load_batch(index + 1);
    });
  }
  return out;
}

// Adds up the losses that are still on the device, and looks whether they are finite.
void Trainer::read_losses() {
  for (const Unread& u : unread_) {
    const double loss = u.loss.item<double>();
    if (!std::isfinite(loss)) {
      std::string at;
      if (u.t.defined()) {
        const Tensor bad = at::nonzero(u.per_row.isfinite().logical_not()).view({-1}).to(at::kCPU);
        if (bad.numel() > 0) {
          const Tensor t = u.t.index_select(0, bad.narrow(0, 0, 1));
          at = " at time " + Value{t.item<double>(), {}}.text() + " (noise level " +
               Value{experiment_.process().noise_level(t).item<double>(), {}}.text() + ")";
        }
      }
      throw Error("step " + std::to_string(u.step) + ": the loss is not finite" + at +
                  "; the last state before is in " + folder_.string());
    }
    loss_sum_ += loss;
  }
  unread_.clear();
}

void Trainer::train_step(const Ode* ode) {
  const TrainSettings& settings = *experiment_.train;
  const auto seed = static_cast<uint64_t>(experiment_.run->seed);
  if (!student_) {
    student_.emplace(experiment_.model(experiment_.training_backend().trainable(network_)));
    target_.emplace(experiment_.model(experiment_.backend().compile(target_network_ ? target_network_ : network_)));
  }
  target_->evaluator().refresh();  // its weights moved with the last step
  for (int64_t part = 0; part < settings.accumulate; ++part) {
    const int64_t index = record_.step * settings.accumulate + part;
    at::manual_seed(seeded(seed, "dropout", static_cast<uint64_t>(index)).current_seed());
    Batch batch = next_batch(index);
    std::optional<Ode> bound;
    if (ode != nullptr) {
      bound = ode->with(batch.condition);
    }
    const TrainingStep step{batch,
                            *student_,
                            *target_,
                            bound ? &*bound : nullptr,
                            experiment_.solver.get(),
                            experiment_.schedule.get(),
                            experiment_.process(),
                            seeded(seed, "train", static_cast<uint64_t>(index)),
                            static_cast<double>(record_.step) / static_cast<double>(settings.steps),
                            experiment_.classes()};
    const LossValue value = (*experiment_.loss)(step);
    const Tensor loss = value.per_row.mean() / static_cast<double>(settings.accumulate);
    unread_.push_back({record_.step + 1, loss.detach(), value.per_row.detach(), value.t});
    if (loss.is_cpu()) {  // reading costs nothing here, and the state before a broken step can be saved
      read_losses();
    }
    (loss_scale_.is_on() ? loss * loss_scale_.factor() : loss).backward();
  }
  gradient_norm_ = clip_gradients(weights_.parameters(), settings.clip, loss_scale_.factor());
  if (!gradient_norm_.is_cpu() && !loss_scale_.is_on()) {
    optimizer_.step(record_.step);
    return;
  }
  try {
    if (loss_scale_.accept(std::isfinite(gradient_norm_.item<double>()))) {
      optimizer_.step(record_.step);
    } else {
      optimizer_.skip();
    }
  } catch (const Error& e) {
    throw Error("step " + std::to_string(record_.step + 1) + ": " + e.what() + "; the state before it is saved in " +
                folder_.string());
  }
}

void Trainer::log(double loss, double norm) {
  const Json line = {{"step", record_.step},
                     {"loss", loss},
                     {"learning_rate", optimizer_.rate(record_.step - 1)},
                     {"gradient_norm", norm},
                     {"teacher_evaluations", record_.teacher_evaluations},
                     {"seconds", record_.seconds}};
  std::ofstream out(folder_ / "metrics.jsonl", std::ios::app);
  out << line.dump() << std::endl;
  if (!out) {
    throw Error((folder_ / "metrics.jsonl").string() + ": cannot be written");
  }
}

void Trainer::run() {
  const TrainSettings& settings = *experiment_.train;
  const std::vector<int64_t>& at = experiment_.evaluate->at;
  std::optional<Ode> ode;
  if (experiment_.teacher) {
    ode.emplace(*experiment_.teacher);
  }
  network_->module()->train();
  log::Progress progress("training", settings.steps, record_.step);
  auto saved = Clock::now();
  while (record_.step < settings.steps) {
    const auto begin = Clock::now();
    const int64_t evaluations = ode ? ode->evaluations() : 0;
    try {
      train_step(ode ? &*ode : nullptr);
    } catch (const Error&) {
      if (unread_.size() <= static_cast<size_t>(settings.accumulate)) {  // the weights are those before the step
        save_state();
      }
      throw;
    }
    record_.step += 1;
    if (target_network_) {
      move_average(Weights(*target_network_).tensors, weights_.tensors, experiment_.loss->target_decay());
    }
    if (!average_.empty()) {
      // The average begins short, so that the first weights do not linger in it.
      const auto k = static_cast<double>(record_.step);
      move_average(average_, weights_.tensors, std::min(settings.ema, (1 + k) / (10 + k)));
    }
    record_.teacher_evaluations += ode ? ode->evaluations() - evaluations : 0;
    record_.seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    loss_count_ += 1;
    const bool last = record_.step == settings.steps;
    if (record_.step % settings.log_every == 0 || last) {
      read_losses();
      const double mean = loss_sum_ / static_cast<double>(loss_count_);
      log(mean, gradient_norm_.item<double>());
      char note[40];
      std::snprintf(note, sizeof note, "loss %.4g", mean);
      progress.update(record_.step, note);
      loss_sum_ = 0;
      loss_count_ = 0;
    }
    const bool due = std::chrono::duration<double>(Clock::now() - saved).count() > settings.save_every;
    const bool wanted = last || std::find(at.begin(), at.end(), record_.step) != at.end();
    if (due || wanted || stop_requested()) {
      read_losses();
    }
    if (wanted) {
      save_weights();
      save_state();
    } else if (due || stop_requested()) {
      save_state();
      saved = Clock::now();
    }
    if (stop_requested() && !last) {
      throw Error("interrupted at step " + std::to_string(record_.step) + " of " + std::to_string(settings.steps) +
                  "; the same command goes on from there");
    }
  }
}

}  // namespace retort
