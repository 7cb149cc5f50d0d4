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
#include "sample/conditions.h"

namespace retort {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

// Layers of inputs that the host itself gives begin without effect: frozen, the student would never learn what it is
// told.
std::vector<std::string> weights_of_new_inputs(const Experiment& experiment, const Network& network) {
  std::vector<std::string> out;
  for (const std::string_view input : {inputs::guidance, inputs::end_time}) {
    if (experiment.spec().has(input)) {
      out.push_back(network.weights_of(std::string(input)));
    }
  }
  std::erase(out, "");
  return out;
}

}  // namespace

Trainer::Trainer(Experiment& experiment, fs::path folder, std::shared_ptr<SolveMemory> memory)
    : experiment_(experiment),
      folder_(std::move(folder)),
      network_(experiment.new_network()),
      memory_(std::move(memory)),
      weights_(*network_),
      adapter_(experiment.student->low_rank ? std::make_optional<Adapter>(weights_, *experiment.student,
                                                                          static_cast<uint64_t>(experiment.run->seed),
                                                                          weights_of_new_inputs(experiment, *network_))
                                            : std::nullopt),
      trained_(adapter_ ? adapter_->factors() : weights_),
      optimizer_(trained_, *experiment.train),
      loss_scale_(experiment.training_backend().loss_scale()),
      group_(Group::world()) {
  const int64_t batch = experiment_.train->batch;
  if (batch < group_.size()) {
    throw RequestError("train.batch = " + std::to_string(batch) + " is shared by " + std::to_string(group_.size()) +
                       " processes; expected at least a sample for each");
  }
  first_row_ = batch * group_.rank() / group_.size();
  rows_ = batch * (group_.rank() + 1) / group_.size() - first_row_;
  if (experiment_.loss->target_decay() > 0) {
    target_network_ = experiment_.new_network();
    Weights(*target_network_).assign(weights_.tensors);
    target_network_->module()->eval();
    target_average_ = adapter_ ? trained_.copy() : Weights(*target_network_).tensors;
  }
  if (experiment_.train->ema > 0) {
    average_ = trained_.copy();
  }
  if (group_.first()) {
    make_folder(folder_ / "checkpoints");
  }
  group_.meet();
  restore_state();
}

// Gives a network the weights that these trained tensors amount to.
void Trainer::load(Network& network, const std::vector<Tensor>& trained) const {
  Weights(network).assign(adapter_ ? adapter_->merged(trained) : trained);
}

// Batches run through one shuffled epoch after another; the order depends on the seed and the epoch alone.
Batch Trainer::load_batch(int64_t index) {
  const int64_t size = experiment_.dataset->size(Split::train);
  const int64_t batch = experiment_.train->batch;
  const int64_t end = index * batch + first_row_ + rows_;
  std::vector<Tensor> parts;
  for (int64_t at = index * batch + first_row_; at < end;) {
    const int64_t epoch = at / size;
    if (epoch != epoch_) {
      epoch_ = epoch;
      order_ = at::randperm(size,
                            seeded(static_cast<uint64_t>(experiment_.run->seed), "order", static_cast<uint64_t>(epoch)),
                            at::TensorOptions().dtype(at::kLong));
    }
    const int64_t count = std::min(end - at, (epoch + 1) * size - at);
    parts.push_back(order_.narrow(0, at - epoch * size, count));
    at += count;
  }
  Batch out = for_model(experiment_, experiment_.dataset->batch(Split::train, at::cat(parts)));
  if (experiment_.spec().has(inputs::guidance)) {
    const auto [low, high] = *experiment_.teacher->guidance();
    const Tensor uniform = at::rand(
        {batch}, seeded(static_cast<uint64_t>(experiment_.run->seed), "guidance", static_cast<uint64_t>(index)),
        at::TensorOptions().dtype(at::kDouble));
    out.condition.set(inputs::guidance,
                      (low + (high - low) * uniform.narrow(0, first_row_, rows_)).to(experiment_.backend().device()));
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

// The sum of the losses that are still on the device, all of which are finite, or an Error.
double Trainer::read_losses() {
  double sum = 0;
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
    sum += loss;
  }
  unread_.clear();
  return sum;
}

TrainingStep Trainer::step_of(const Batch& batch, const Ode* ode, int64_t index) const {
  return {batch,
          *student_,
          *target_,
          ode,
          experiment_.solver.get(),
          experiment_.schedule.get(),
          experiment_.process(),
          seeded(static_cast<uint64_t>(experiment_.run->seed), "train", static_cast<uint64_t>(index)),
          static_cast<double>(record_.step) / static_cast<double>(experiment_.train->steps),
          experiment_.spec(),
          first_row_,
          experiment_.train->batch};
}

// Adds up over all processes the gradients, and with them what is counted. Returns the loss of all.
double Trainer::share_gradients(double loss) {
  if (group_.size() == 1) {
    stop_ = stop_requested();
    return loss;
  }
  std::vector<Tensor> all;
  for (const Tensor& p : trained_.parameters()) {
    if (!p.grad().defined()) {
      Tensor(p).mutable_grad() = at::zeros_like(p);
    }
    all.push_back(p.grad());
  }
  const Tensor counts = at::tensor(
      {loss, static_cast<double>(evaluations_), static_cast<double>(remembered_), stop_requested() ? 1.0 : 0.0},
      at::kDouble);
  all.push_back(counts);
  group_.sum(all);
  evaluations_ = counts[1].item<int64_t>();
  remembered_ = counts[2].item<int64_t>();
  stop_ = counts[3].item<double>() > 0;
  return counts[0].item<double>();
}

// What a loss hands back, before LibTorch stumbles over it.
void Trainer::check_loss(const LossValue& value, int64_t rows) const {
  const std::string name =
      "loss '" + std::get<std::string>(experiment_.resolved().find("loss")->find("type")->data) + "'";
  if (!value.per_row.defined() || value.per_row.dim() != 1 || value.per_row.size(0) != rows) {
    throw Error(name + ": returned no number for each of the " + std::to_string(rows) + " rows; expected a tensor [B]");
  }
  if (!value.per_row.requires_grad()) {
    throw Error(name + ": its numbers carry no gradient; expected a differentiable function of what the student says");
  }
}

void Trainer::train_step(const Ode* ode) {
  const TrainSettings& settings = *experiment_.train;
  if (!student_) {
    student_.emplace(experiment_.model(experiment_.training_backend().trainable(network_)));
    target_.emplace(experiment_.model(experiment_.backend().compile(target_network_ ? target_network_ : network_)));
  }
  target_->network().refresh();  // its weights moved with the last step
  if (settings.accumulate > 1) {
    buffers_ = weights_.copy_buffers();  // which move with every part, in a step that may be given up
  }
  const int64_t evaluations = ode != nullptr ? ode->evaluations() : 0;
  const int64_t remembered = ode != nullptr ? ode->remembered() : 0;
  double sum = 0;
  for (int64_t part = 0; part < settings.accumulate; ++part) {
    if (part > 0 && group_.size() == 1 && stop_requested()) {  // the weights are still those before the step
      optimizer_.skip();
      weights_.assign_buffers(buffers_);
      throw Error(interrupted());
    }
    const int64_t index = record_.step * settings.accumulate + part;
    at::manual_seed(seeded(static_cast<uint64_t>(experiment_.run->seed), "dropout",
                           static_cast<uint64_t>(index * group_.size() + group_.rank()))
                        .current_seed());
    const Batch batch = next_batch(index);
    std::optional<Ode> bound;
    if (ode != nullptr) {
      bound = ode->with(batch.condition);
    }
    const LossValue value = (*experiment_.loss)(step_of(batch, bound ? &*bound : nullptr, index));
    check_loss(value, batch.x.size(0));
    const Tensor mean =
        group_.size() == 1 ? value.per_row.mean() : value.per_row.sum() / static_cast<double>(settings.batch);
    const Tensor loss = mean / static_cast<double>(settings.accumulate);
    unread_.push_back({record_.step + 1, loss.detach(), value.per_row.detach(), value.t});
    if (loss.is_cpu() ||
        group_.size() > 1) {  // reading costs nothing on a processor, and a bad step is caught before it
      sum += read_losses();
    }
    (loss_scale_.is_on() ? loss * loss_scale_.factor() : loss).backward();
  }
  if (adapter_) {
    adapter_->pull_gradients();
  }
  evaluations_ = ode != nullptr ? ode->evaluations() - evaluations : 0;
  remembered_ = ode != nullptr ? ode->remembered() - remembered : 0;
  loss_sum_ += share_gradients(sum);
  gradient_norm_ = clip_gradients(trained_.parameters(), settings.clip, loss_scale_.factor());
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
  if (!group_.first()) {
    return;
  }
  const Json line = {{"step", record_.step},
                     {"loss", loss},
                     {"learning_rate", optimizer_.rate(record_.step - 1)},
                     {"gradient_norm", norm},
                     {"teacher_evaluations", record_.teacher_evaluations},
                     {"seconds", record_.seconds}};
  std::ofstream out(folder_ / "metrics.jsonl", std::ios::app);
  out << spell(line) << std::endl;
  if (!out) {
    throw Error((folder_ / "metrics.jsonl").string() + ": cannot be written");
  }
}

std::string Trainer::interrupted() const {
  return "interrupted at step " + std::to_string(record_.step) + " of " + std::to_string(experiment_.train->steps) +
         "; the same command goes on from there";
}

// What is saved is looked at first: a state that holds no numbers would be gone on from again and again. Returns the
// first weights that are not finite, or "".
std::string Trainer::not_finite() const {
  for (size_t i = 0; i < trained_.tensors.size(); ++i) {
    if (trained_.tensors[i].is_floating_point() && !trained_.tensors[i].isfinite().all().item<bool>()) {
      return trained_.names[i];
    }
  }
  return "";
}

void Trainer::run() {
  const TrainSettings& settings = *experiment_.train;
  const std::vector<int64_t>& at = experiment_.evaluate->at;
  std::optional<Ode> ode;
  if (experiment_.teacher) {
    ode.emplace(*experiment_.teacher);
    if (memory_ && experiment_.solver) {
      ode = ode->with(memory_, experiment_.solver.get());
    }
  }
  network_->module()->train();
  log::Progress progress("training", settings.steps, record_.step);
  auto saved = Clock::now();
  while (record_.step < settings.steps) {
    const auto begin = Clock::now();
    try {
      train_step(ode ? &*ode : nullptr);
    } catch (const Error&) {
      // The weights are those before the step, where no step after it was begun.
      if (unread_.size() <= static_cast<size_t>(settings.accumulate) && not_finite().empty()) {
        save_state();
      }
      throw;
    }
    record_.step += 1;
    if (adapter_) {
      load(*network_, trained_.tensors);
    }
    if (target_network_) {
      move_average(target_average_, trained_.tensors, experiment_.loss->target_decay());
      if (adapter_) {
        load(*target_network_, target_average_);
      }
    }
    if (!average_.empty()) {
      move_average(average_, trained_.tensors, settings.ema_decay(record_.step));
    }
    record_.teacher_evaluations += evaluations_;
    record_.remembered += remembered_;
    record_.seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    loss_count_ += 1;
    const bool last = record_.step == settings.steps;
    if (record_.step % settings.log_every == 0 || last) {
      loss_sum_ += read_losses();
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
    if (due || wanted || stop_) {
      loss_sum_ += read_losses();
      if (const std::string name = not_finite(); !name.empty()) {
        throw Error("step " + std::to_string(record_.step) + ": the weights '" + name +
                    "' are not finite; the last state that was is in " + folder_.string());
      }
    }
    if (wanted) {
      save_weights();
      save_state();
    } else if (due || stop_) {
      save_state();
      saved = Clock::now();
    }
    if (stop_ && !last) {
      throw Error(interrupted());
    }
  }
}

}  // namespace retort
