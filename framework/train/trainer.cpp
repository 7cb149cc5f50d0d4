#include "train/trainer.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "help/machine.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "interrupt.h"
#include "log.h"
#include "retort/recompute.h"

namespace retort {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

// Losses by time, as they are noted, and where a log has them.
constexpr std::string_view by_time_group = "loss_by_time", by_time_prefix = "loss_by_time/";

}  // namespace

Trainer::Trainer(Experiment& experiment, fs::path folder, std::shared_ptr<SolveMemory> memory)
    : experiment_(experiment),
      folder_(std::move(folder)),
      network_(experiment.new_network()),
      memory_(std::move(memory)),
      weights_(*network_),
      adapter_(Adapter::of(experiment, *network_, weights_)),
      trained_(adapter_ ? adapter_->factors() : weights_),
      optimizer_(trained_, *experiment.train),
      averages_(trained_, *experiment.train),
      budget_(*experiment.train),
      loss_scale_(experiment.training_backend().loss_scale()),
      group_(Group::world()) {
  const int64_t batch = experiment_.train->batch;
  if (batch < group_.size()) {
    throw RequestError("train.batch = " + std::to_string(batch) + " is shared by " + std::to_string(group_.size()) +
                       " processes; expected at least a sample for each");
  }
  first_row_ = batch * group_.rank() / group_.size();
  rows_ = batch * (group_.rank() + 1) / group_.size() - first_row_;
  batches_.emplace(experiment_, first_row_, rows_);
  check_trainable(trained_.parameters(), "the student");
  roles_ = std::make_unique<RoleSet>(experiment_, weights_);
  if (experiment_.train->averages()) {
    average_ = trained_.copy();
  }
  if (group_.first()) {
    make_folder(folder_ / "checkpoints");
    watch_.emplace(experiment_, folder_);
  }
  group_.meet();
  restore_state();
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

// A new stage has a student that begins anew, at its own weights.
void Trainer::begin_stage() {
  stage_ = stage();
  stage_begin_ = record_.step;
  roles_->begin_stage(weights_.tensors);
  student_steps_ = 0;
  if (record_.step > 0) {
    optimizer_.reset();
    if (!average_.empty()) {
      average_ = trained_.copy();
    }
    averages_.begin(record_.step);
  }
}

TrainingStep Trainer::step_of(const Batch& batch, const Ode* ode, int64_t index) const {
  const Model* target = roles_->target();
  return {.batch = batch,
          .student = *student_,
          .target = target != nullptr ? *target : *frozen_student_,
          .ode = ode,
          .solver = experiment_.solver.get(),
          .schedule = experiment_.schedule.get(),
          .process = experiment_.process(),
          .generator = seeded(static_cast<uint64_t>(experiment_.run->seed), "train", static_cast<uint64_t>(index)),
          .progress = budget_.progress(record_),
          .spec = experiment_.spec(),
          .index = record_.step,
          .stage = stage(),
          .roles = roles_->at_step(record_.step),
          .first_row = first_row_,
          .all_rows = experiment_.train->batch};
}

// Adds up over all processes the gradients, and with them what is counted. Returns the loss of all.
double Trainer::share_gradients(double loss) {
  if (group_.size() == 1) {
    stop_ = stop_requested();
    return loss;
  }
  std::vector<Tensor> all, parameters = trained_.parameters();
  const std::vector<Tensor> of_roles = roles_->parameters(record_.step);
  parameters.insert(parameters.end(), of_roles.begin(), of_roles.end());
  for (const Tensor& p : parameters) {
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
void Trainer::check_loss(const LossValue& value, const TrainingStep& step) const {
  const int64_t rows = step.batch.x.size(0);
  const auto check = [&](const Tensor& per_row, const std::string& whose) {
    const std::string name = "loss '" + experiment_.loss_name() + "'" + whose;
    if (!per_row.defined() || per_row.dim() != 1 || per_row.size(0) != rows) {
      throw Error(name + ": returned no number for each of the " + std::to_string(rows) +
                  " rows; expected a tensor [B]");
    }
    if (!per_row.requires_grad()) {
      throw Error(name + ": its numbers carry no gradient; expected a differentiable function of what the " +
                  (whose.empty() ? "student" : "network") + " says");
    }
  };
  const auto is_student = [](const RoleModel& role) { return role.name == "student"; };
  if (value.per_row.defined() || std::none_of(step.roles.begin(), step.roles.end(), is_student)) {
    check(value.per_row, "");
  }
  for (const auto& [name, number] : value.diagnostics) {
    if (!number.defined() || number.numel() != 1) {
      throw Error("loss '" + experiment_.loss_name() + "': its diagnostic '" + name + "' is no single number");
    }
  }
  for (const RoleModel& role : step.roles) {
    if (role.due && !is_student(role)) {
      const auto found = value.roles.find(role.name);
      check(found != value.roles.end() ? found->second : Tensor(), ", role '" + role.name + "'");
    }
  }
}

// The number whose gradient is taken: the mean over the rows of all processes and parts.
Tensor Trainer::mean_of(const Tensor& per_row) const {
  const TrainSettings& settings = *experiment_.train;
  const Tensor mean = group_.size() == 1 ? per_row.mean() : per_row.sum() / static_cast<double>(settings.batch);
  return mean / static_cast<double>(settings.gradient_accumulation);
}

// Gradients of the student and of every role that is due. Returns the student's loss, as far as it is read already.
double Trainer::backward(const LossValue& value) {
  const auto scaled = [&](const Tensor& loss) { return loss_scale_.is_on() ? loss * loss_scale_.factor() : loss; };
  double sum = 0;
  for (const auto& [name, per_row] : value.roles) {
    if (!roles_->due(name, record_.step)) {
      continue;
    }
    const Tensor loss = mean_of(per_row);
    note("loss_" + name, per_row.detach().mean());  // of this process's rows
    roles_->backward(name, scaled(loss));
  }
  for (const auto& [name, number] : value.diagnostics) {
    note(name, number.detach().squeeze());
  }
  if (!value.per_row.defined()) {
    return 0;
  }
  student_is_due_ = true;
  note_by_time(value);
  const Tensor loss = mean_of(value.per_row);
  unread_.push_back({record_.step + 1, loss.detach(), value.per_row.detach(), value.t});
  if (loss.is_cpu() || group_.size() > 1) {  // reading costs nothing on a processor, and a bad step is caught before it
    sum = read_losses();
  }
  if (!roles_->any_trained()) {
    scaled(loss).backward();
    return sum;
  }
  std::vector<Tensor> own;
  for (const Tensor& p : weights_.parameters()) {
    if (p.requires_grad()) {
      own.push_back(p);
    }
  }
  scaled(loss).backward({}, /*retain_graph=*/false, /*create_graph=*/false, own);
  return sum;
}

// `number`: the sum of so many.
void Trainer::note(const std::string& name, const Tensor& number, int64_t count) {
  Noted& noted = noted_[name];
  noted.sum = noted.sum.defined() ? noted.sum + number.to(at::kDouble) : number.to(at::kDouble);
  noted.count += count;
}

// The loss of this process's rows, apart by the times that they were trained at.
void Trainer::note_by_time(const LossValue& value) {
  const int64_t bins = experiment_.track->loss_bins;
  if (bins == 0 || !watch_ || !value.t.defined() || !makes_samples(experiment_.loss->makes())) {
    return;
  }
  const Tensor bin = time_bins(experiment_.process(), value.t, bins);
  if (bin_names_.empty()) {
    bin_names_ = time_bin_names(experiment_.process(), bins);
  }
  for (int64_t i = 0; i < bins; ++i) {
    const Tensor rows = at::nonzero(bin == i).view({-1});
    if (rows.size(0) > 0) {
      note(std::string(by_time_prefix) + bin_names_[static_cast<size_t>(i)],
           value.per_row.detach().index_select(0, rows.to(value.per_row.device())).sum(), rows.size(0));
    }
  }
}

void Trainer::make_models() {
  student_.emplace(experiment_.model(experiment_.training_backend().trainable(network_)));
  frozen_student_.emplace(experiment_.model(experiment_.backend().compile(network_)));
}

void Trainer::train_step(const Ode* ode) {
  const TrainSettings& settings = *experiment_.train;
  if (!student_) {
    make_models();
  }
  if (stage() != stage_) {
    begin_stage();
  }
  frozen_student_->network().refresh();  // its weights moved with the last step
  std::vector<std::vector<Tensor>> role_buffers;
  if (settings.gradient_accumulation > 1) {
    buffers_ = weights_.copy_buffers();  // which move with every part, in a step that may be given up
    role_buffers = roles_->copy_buffers();
  }
  const int64_t evaluations = ode != nullptr ? ode->evaluations() : 0;
  const int64_t remembered = ode != nullptr ? ode->remembered() : 0;
  double sum = 0;
  student_is_due_ = false;
  for (int64_t part = 0; part < settings.gradient_accumulation; ++part) {
    if (part > 0 && group_.size() == 1 && stop_requested()) {  // the weights are still those before the step
      optimizer_.skip();
      roles_->skip();
      weights_.assign_buffers(buffers_);
      roles_->assign_buffers(role_buffers);
      throw Error(interrupted());
    }
    const int64_t index = record_.step * settings.gradient_accumulation + part;
    at::manual_seed(seeded(static_cast<uint64_t>(experiment_.run->seed), "dropout",
                           static_cast<uint64_t>(index * group_.size() + group_.rank()))
                        .current_seed());
    const Batch batch = batches_->next(index);
    std::optional<Ode> bound;
    if (ode != nullptr) {
      bound = ode->with(batch.condition);
    }
    const TrainingStep step = step_of(batch, bound ? &*bound : nullptr, index);
    const LossValue value = (*experiment_.loss)(step);
    check_loss(value, step);
    sum += backward(value);
  }
  if (adapter_ && student_is_due_) {
    adapter_->pull_gradients();
  }
  evaluations_ = ode != nullptr ? ode->evaluations() - evaluations : 0;
  remembered_ = ode != nullptr ? ode->remembered() - remembered : 0;
  loss_sum_ += share_gradients(sum);
  loss_count_ += student_is_due_ ? 1 : 0;
  take_optimizer_steps();
}

void Trainer::take_optimizer_steps() {
  const double clip = experiment_.train->max_grad_norm;
  const Tensor norm = clip_gradients(trained_.parameters(), clip, loss_scale_.factor());
  if (student_is_due_ || !gradient_norm_.defined()) {
    gradient_norm_ = norm;
  }
  if (watch_ && student_is_due_) {
    watch_->show_gradients(record_.step + 1, trained_);
  }
  const bool trains_roles = roles_->any_trained();
  const bool roles_finite = !trains_roles || roles_->clip(record_.step, clip, loss_scale_.factor());
  const auto take = [&] {
    if (student_is_due_) {
      optimizer_.step(record_.step, student_steps_++, budget_.spent(record_));
    }
    roles_->step(record_.step, budget_.spent(record_));
  };
  if (!norm.is_cpu() && !loss_scale_.is_on() && !trains_roles) {
    take();
    return;
  }
  try {
    if (loss_scale_.accept(std::isfinite(norm.item<double>()) && roles_finite)) {
      take();
    } else {
      optimizer_.skip();
      roles_->skip();
    }
  } catch (const Error& e) {
    throw Error("step " + std::to_string(record_.step + 1) + ": " + e.what() + "; the state before it is saved in " +
                folder_.string());
  }
}

// At the step that is gone on from.
void Trainer::begin_log() {
  if (watch_) {
    watch_->begin(record_.step);
  }
}

void Trainer::log(double loss, double norm) {
  if (!group_.first()) {
    return;
  }
  constexpr double none = std::numeric_limits<double>::quiet_NaN();
  Scalars scalars = {{"loss", loss_count_ > 0 ? loss : none},  // no number where the student was not due
                     {"learning_rate", rate_},
                     {"gradient_norm", norm},
                     {"teacher_evaluations", record_.teacher_evaluations},
                     {"seconds", record_.seconds}};
  for (const auto& [name, noted] : noted_) {
    const double mean = noted.sum.item<double>() / static_cast<double>(noted.count);
    const bool by_time = name.starts_with(by_time_prefix);
    scalars.push_back({by_time ? name.substr(by_time_prefix.size()) : name, mean,
                       by_time ? std::string(by_time_group) : "diagnostics"});
  }
  noted_.clear();
  const double per_second = static_cast<double>(record_.teacher_evaluations) / std::max(record_.seconds, 1e-9);
  watch_->log(
      record_.step, scalars,
      {{"teacher_evaluations_per_second", per_second, "machine"}, {"peak_memory_bytes", peak_memory(), "machine"}});
}

// A clock that ends the training must be the same for all processes.
void Trainer::count_seconds(double seconds) {
  record_.seconds += seconds;
  if (experiment_.train->seconds > 0 && group_.size() > 1) {
    record_.seconds = 1e-6 * static_cast<double>(group_.from_first(static_cast<int64_t>(1e6 * record_.seconds)));
  }
}

std::string Trainer::interrupted() const {
  return "interrupted at step " + std::to_string(record_.step) + " of " + budget_.text() +
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
  return roles_->not_finite();
}

// Losses that have not been read yet may tell that the weights are ruined.
void Trainer::save_where_sound() {
  try {
    loss_sum_ += read_losses();
  } catch (const Error&) {
    return;
  }
  if (not_finite().empty()) {
    save_state();
  }
}

// Whether a part of the training that ends with a snapshot is over; `part`: the one that the last step belongs to.
bool Trainer::ends_part(int64_t part) const {
  const bool over = budget_.is_over(record_) || budget_.stage(record_, experiment_.train->ema_snapshots) > part;
  return !averages_.empty() && over;
}

void Trainer::run(std::optional<int64_t> until) {
  const TrainSettings& settings = *experiment_.train;
  const std::vector<int64_t>& at = experiment_.evaluate->at;
  const Recompute recompute(settings.gradient_checkpointing);
  const int64_t recomputed_before = Recompute::count();
  std::optional<Ode> ode;
  if (experiment_.teacher) {
    ode.emplace(*experiment_.teacher);
    if (memory_ && experiment_.solver) {
      ode = ode->with(memory_, experiment_.solver.get());
    }
  }
  network_->module()->train();
  // The number of steps is not known where something else may end them: then the budget is shown, in thousandths.
  const auto shown = [&] {
    return budget_.counts_steps_alone() ? record_.step : static_cast<int64_t>(1000 * budget_.progress(record_));
  };
  log::Progress progress("training", budget_.counts_steps_alone() ? settings.steps : 1000, shown());
  auto saved = Clock::now();
  while (!budget_.is_over(record_) && (!until || record_.step < *until)) {
    const auto begin = Clock::now();
    const int64_t part = budget_.stage(record_, settings.ema_snapshots);
    const std::map<std::string, Noted> noted = noted_;
    const auto [sum, count] = std::pair(loss_sum_, loss_count_);
    try {
      train_step(ode ? &*ode : nullptr);
    } catch (const Error&) {  // the weights are those before the step, and so is all that is said of them
      noted_ = noted;
      loss_sum_ = sum;
      loss_count_ = count;
      std::erase_if(unread_, [&](const Unread& u) { return u.step > record_.step; });
      save_where_sound();
      throw;
    }
    if (settings.gradient_checkpointing && Recompute::count() == recomputed_before) {
      throw RequestError(
          "train.gradient_checkpointing: is true, and the student's network has no blocks that can be computed again; "
          "expected false");
    }
    rate_ = optimizer_.rate(record_.step, budget_.spent(record_));
    record_.step += 1;
    if (adapter_) {
      adapter_->apply();
    }
    roles_->follow(weights_.tensors);
    if (!average_.empty()) {
      move_average(average_, trained_.tensors, settings.ema_decay(record_.step - stage_begin_));
    }
    averages_.follow(record_.step);
    record_.teacher_evaluations += evaluations_;
    record_.remembered += remembered_;
    if (settings.seconds > 0) {
      gradient_norm_.item<double>();  // waits for the device: what is queued is work as well
    }
    count_seconds(std::chrono::duration<double>(Clock::now() - begin).count());
    const bool last = budget_.is_over(record_);
    if (record_.step % settings.log_every == 0 || last) {
      loss_sum_ += read_losses();
      const double mean = loss_sum_ / static_cast<double>(std::max<int64_t>(loss_count_, 1));
      log(mean, gradient_norm_.item<double>());
      char note[40] = "";
      if (loss_count_ > 0) {
        std::snprintf(note, sizeof note, "loss %.4g", mean);
      }
      progress.update(shown(), note);
      loss_sum_ = 0;
      loss_count_ = 0;
    }
    if (watch_ && watch_->is_due(record_.step)) {
      frozen_student_->network().refresh();
      watch_->show(record_.step, trained_, *network_, *frozen_student_);
    }
    const bool due = std::chrono::duration<double>(Clock::now() - saved).count() > settings.save_every;
    const bool wanted = last || std::find(at.begin(), at.end(), record_.step) != at.end();
    const bool part_is_over = ends_part(part);
    if (due || wanted || stop_ || part_is_over) {
      loss_sum_ += read_losses();
      if (const std::string name = not_finite(); !name.empty()) {
        throw Error("step " + std::to_string(record_.step) + ": the weights '" + name +
                    "' are not finite; the last state that was is in " + folder_.string());
      }
    }
    if (part_is_over) {  // before the state that says that it is there
      averages_.snapshot(folder_ / "checkpoints", record_.step, group_.first());
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
