#include "config/experiment.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "config/times.h"
#include "config/toml.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/names.h"
#include "log.h"

namespace retort {

namespace {

// A plugin's table may hold one named after a plugin, such as [loss.cm], keys for that plugin alone: those of the
// chosen type are merged in, those of others left out.
Value for_type(const Value& table, const std::string& type, const std::vector<std::string>& names) {
  Value out = table;
  for (const std::string& name : names) {
    const Value* own = table.find(name);
    if (own == nullptr || !own->is_table()) {
      continue;
    }
    out.erase(name);
    if (name == type) {
      for (const auto& [key, value] : own->table()) {
        out[key] = value;
      }
    }
  }
  return out;
}

// Each cell of a sweep finds the same.
void say_once(const std::string& line) {
  static std::set<std::string> said;
  if (said.insert(line).second) {
    log::info(line);
  }
}

}  // namespace

std::string spell(at::IntArrayRef shape) {
  std::string out;
  for (const int64_t n : shape) {
    out += (out.empty() ? "" : " x ") + std::to_string(n);
  }
  return out;
}

Experiment::Experiment(const Value& root, const std::string& default_name, const Registry& registry, Parts parts,
                       ModelMaker maker, PartsMemo* memo)
    : registry_(registry), maker_(std::move(maker)), memo_(memo), root_(root) {
  for (const auto& [key, value] : root_.table()) {
    if (find_table(key) == nullptr) {
      std::vector<std::string> known;
      for (const TableInfo& table : tables()) {
        known.emplace_back(table.name);
      }
      throw RequestError(to_string(value.origin) + ": unknown table [" + key + "]" + did_you_mean(key, known));
    }
  }
  if (root_.find("plugins") != nullptr) {
    host_table("plugins", [&](Params& p) { prefer_ = PluginSettings(p).prefer; });
  }
  host_table("run", [&](Params& p) { run.emplace(p, default_name); });
  for (const TableInfo& table : tables()) {
    if ((parts == Parts::solving && !table.solves_alone) ||
        (parts == Parts::encoding && !(table.decides & Decides::shards))) {
      root_.erase(table.name);
    }
  }
  build_parts();
  if (parts == Parts::encoding || root_.find("encode") != nullptr) {
    host_table("encode", [&](Params& p) {
      encode.emplace(p);
      check_made_by(p);
    });
  }
  if (parts == Parts::all) {
    build_trained_model();
    choose_solving();
    check_parts();
  }
  table_.clear();
  std::for_each(notes_.begin(), notes_.end(), say_once);
}

template <class F>
void Experiment::host_table(const std::string& table, F read) {
  table_ = table;
  const Value* found = root_.find(table);
  Value empty;
  empty.origin = root_.origin;
  Params p(found != nullptr ? *found : empty, table, this);
  read(p);
  p.finish();
  keep(p, table);
}

void Experiment::keep(const Params& p, const std::string& path) {
  set_path(resolved_, path, p.resolved());
  for (const std::string& key : p.path_keys()) {
    paths_.push_back(path + "." + key);
  }
}

std::shared_ptr<void> Experiment::build_plugin(const char* kind, const std::string& table, const Value& value) {
  table_ = table.substr(0, table.find('.'));
  return remember(table, identity_of(value), [&] { return make_plugin(kind, table, value); });
}

std::shared_ptr<void> Experiment::make_plugin(const char* kind, const std::string& table, const Value& value) {
  const Value* type = value.is_table() ? value.find("type") : nullptr;
  const std::vector<std::string> names = registry_.names(kind);
  std::string name;
  if (type != nullptr && std::holds_alternative<std::string>(type->data)) {
    name = std::get<std::string>(type->data);
  } else if (type == nullptr && kind == std::string_view(Backend::kind)) {
    name = choose_for_me;
  } else {
    std::string list;
    for (const std::string& n : names) {
      list += (list.empty() ? "'" : ", '") + n + "'";
    }
    throw RequestError(to_string(type != nullptr ? type->origin : value.origin) + ": " + table + ".type: " +
                       (type == nullptr ? "missing" : "is " + type->type_name()) + "; expected one of " + list);
  }
  if (name == choose_for_me && kind == std::string_view(Backend::kind)) {
    return choose_backend(table, value);
  }
  Params p(for_type(value, name, names), table, this);
  p.get("type", name.c_str(), "");
  std::shared_ptr<void> made;
  try {
    registry_.find(kind, name, prefer_);
  } catch (const RequestError& e) {
    throw RequestError(to_string(type != nullptr ? type->origin : value.origin) + ": " + table + ".type: " + e.what());
  }
  note_use(kind, name);
  made = registry_.make(kind, name, p, prefer_);
  p.finish();
  keep(p, table);
  if (const std::vector<std::string> keys = p.left_out(); !keys.empty()) {
    std::string list;
    for (const std::string& key : keys) {
      list += (list.empty() ? "" : ", ") + table + "." + key;
    }
    notes_.push_back(table + ".type is '" + name + "' now, which does not know these: left out " + list);
  }
  return made;
}

template <class T>
std::shared_ptr<T> Experiment::build(const std::string& table) {
  const Value* value = root_.find(table);
  return value == nullptr ? nullptr : std::static_pointer_cast<T>(build_plugin(T::kind, table, *value));
}

void Experiment::note_use(const char* kind, const std::string& name) {
  if (table_.empty()) {
    return;  // what is built later is built of the same plugins again
  }
  used_[table_].insert(std::string(kind) + " " + name + " " +
                       sha256_of_library(registry_.find(kind, name, prefer_).path));
}

std::shared_ptr<void> Experiment::make(const char* kind, const std::string& name, Params& params) {
  note_use(kind, name);
  if (kind == std::string_view(Network::kind)) {  // every process of a group begins from one weight
    at::manual_seed(static_cast<uint64_t>(run->seed));
  }
  return registry_.make(kind, name, params, prefer_);
}

void Experiment::build_parts() {
  build_backends();
  if (root_.find("process") != nullptr) {
    process_given_ = true;
    host_table("process", [&](Params& p) { process_ = Process(p); });
  }
  build_data();
  last_checkpoint_.clear();
  teacher = build<Teacher>("teacher");
  teacher_checkpoint_ = last_checkpoint_;
  if (teacher) {
    if (dataset && teacher->shape() != dataset->shape()) {
      throw RequestError(to_string(root_.find("teacher")->origin) + ": teacher: is for samples of " +
                         spell(teacher->shape()) + ", but the data set has " +
                         (latents && latents->has_both()
                              ? spell(latents->data().shape()) + ", encoded to " + spell(dataset->shape())
                              : spell(dataset->shape())));
    }
    check_inputs();
    process_ = teacher->process();
    spec_ = {teacher->shape(), teacher->inputs()};
    if (teacher->guidance() && !spec_.has(inputs::guidance)) {
      spec_.inputs.push_back(guidance_input());
    }
  }
  check_decodes();
  solver = build<Solver>("solver");
  spend_evaluations();
  build_schedule();
}

// The data, and what stands between its pictures and the states that are diffused.
void Experiment::build_data() {
  dataset = build<Dataset>("dataset");
  if (dataset) {
    spec_ = {dataset->shape(), dataset->inputs()};
    if (const std::string notes = dataset->notes(); !notes.empty()) {
      notes_.push_back(notes);
    }
  }
  autoencoder = build<Autoencoder>("autoencoder");
  if (autoencoder && dataset) {
    try {
      latents = std::make_shared<LatentData>(dataset, autoencoder, *frozen_backend_);
    } catch (const RequestError& e) {
      throw RequestError(to_string(root_.find("autoencoder")->origin) + ": autoencoder: " + e.what());
    }
    dataset = latents;
    spec_.shape = dataset->shape();
    if (latents->has_both() && root_.find("loss") != nullptr) {
      notes_.emplace_back(
          "each batch of pictures is encoded as it is trained on; `retort encode` does that once for all");
    }
  }
}

// Samples are to be seen as pictures.
void Experiment::check_decodes() const {
  if (!autoencoder || spec_.shape.empty()) {
    return;
  }
  try {
    picture_shape();
  } catch (const RequestError& e) {
    throw RequestError(to_string(root_.find("autoencoder")->origin) + ": autoencoder: cannot decode states of " +
                       spell(spec_.shape) + ": " + e.what());
  }
}

// Latents mean nothing to other weights than those that made them.
void Experiment::check_made_by(const Params& p) const {
  if (encode->made_by.empty() || !latents || latents->encodes()) {
    return;
  }
  std::string names;
  if (const std::string found = autoencoder_files(names); found != encode->made_by) {
    throw p.error("made_by", "says that the latents were encoded with other weights than " +
                                 (names.empty() ? "those of [autoencoder]" : "those in " + names) +
                                 "; expected the weights of then, latents that `retort encode` makes anew, or made_by "
                                 "= \"\", which takes any decoder");
  }
}

const Dataset* Experiment::picture_data() const {
  return latents && latents->encodes() ? &latents->data() : dataset.get();
}

Tensor Experiment::pictures(const Tensor& x) const {
  return autoencoder ? decode_rows(*autoencoder, *frozen_backend_, x) : x;
}

Tensor Experiment::shown(const Tensor& x) const {
  if (dataset) {
    return dataset->pictures(x);
  }
  return autoencoder ? in_unit_range(pictures(x)) : Tensor();
}

std::vector<int64_t> Experiment::picture_shape() const {
  return autoencoder ? autoencoder->picture_shape(spec_.shape) : spec_.shape;
}

void Experiment::build_schedule() {
  schedule = build<Schedule>("schedule");
  if (schedule) {
    checked_times(*schedule, process_, to_string(root_.find("schedule")->origin) + ": schedule: ");
    if (teacher) {
      check_defined("teacher", teacher->parametrisation(), nullptr);
    }
  }
}

// A solver and a grid where they are needed and none is named.
void Experiment::choose_solving() {
  const Makes makes = loss ? loss->makes() : Makes::classifier;
  const bool solved = makes == Makes::denoiser && (!evaluate->metrics.empty() || track->pictures_every > 0);
  const auto choose = [&](const char* table, const char* name) {
    root_[table]["type"] = Value{std::string(name), root_.origin};
    notes_.push_back("[" + std::string(table) + "] is left to the program: type = \"" + name + "\"");
  };
  if (loss && !solver && (solved || loss->needs().solver) && root_.find("solver") == nullptr) {
    choose("solver", RETORT_DEFAULT_SOLVER);
    solver = build<Solver>("solver");
  }
  if (loss && !schedule && (solved || samples_by_itself(makes) || loss->needs().schedule) &&
      root_.find("schedule") == nullptr) {
    choose("schedule", process_.is_variance_exploding() ? RETORT_DEFAULT_SCHEDULE_OF_LEVELS : RETORT_DEFAULT_SCHEDULE);
    build_schedule();
  }
}

// schedule.evaluations stands for as many steps as the solver can take of them, so that solvers of different costs are
// compared at one.
void Experiment::spend_evaluations() {
  Value* table = root_.find("schedule");
  const Value* budget = table != nullptr && table->is_table() ? table->find("evaluations") : nullptr;
  if (budget == nullptr) {
    return;
  }
  const std::string place = to_string(budget->origin) + ": schedule.evaluations: ";
  const int64_t* evaluations = std::get_if<int64_t>(&budget->data);
  if (evaluations == nullptr || *evaluations < 1) {
    throw RequestError(place + "is " + budget->text() + "; expected a whole number from 1 on");
  }
  if (!solver || solver->evaluations() == 0) {
    throw RequestError(place + (solver ? "the solver adapts its steps" : "there is no [solver]") +
                       "; expected schedule.steps, the intervals of the grid");
  }
  if (table->find("steps") != nullptr) {
    throw RequestError(place + "stands beside schedule.steps; expected one of them");
  }
  if (*evaluations < solver->evaluations()) {
    throw RequestError(place + std::to_string(*evaluations) + " is less than one step of the solver takes, " +
                       std::to_string(solver->evaluations()));
  }
  (*table)["steps"] = Value{*evaluations / solver->evaluations(), budget->origin};
  table->erase("evaluations");
}

// A list of losses stands for their sum.
void Experiment::build_loss() {
  if (Value* table = root_.find("loss"); table != nullptr && std::holds_alternative<Array>(table->data)) {
    Value sum;
    sum.origin = table->origin;
    sum["type"] = Value{std::string(RETORT_LOSS_OF_A_LIST), table->origin};
    sum["terms"] = *table;
    *table = std::move(sum);
  }
  loss = build<Loss>("loss");
  if (loss && loss->needs().end_time) {
    spec_.inputs.push_back({.name = std::string(inputs::end_time), .dtype = at::kDouble});
  }
  spec_.outputs = loss ? loss->needs().outputs : 1;
}

std::string Experiment::loss_name() const {
  const Value* table = resolved_.find("loss");
  const Value* terms = table != nullptr ? table->find("terms") : nullptr;
  std::string out;
  if (terms != nullptr && std::holds_alternative<Array>(terms->data)) {
    for (const Value& term : std::get<Array>(terms->data)) {
      const Value* type = term.find("type");
      out += (out.empty() ? "" : " + ") + (type != nullptr ? std::get<std::string>(type->data) : "");
    }
    return out;
  }
  const Value* type = table != nullptr ? table->find("type") : nullptr;
  return type != nullptr ? std::get<std::string>(type->data) : "";
}

// What a model is given has to be read by its network; labels need not be. Classifiers and autoencoders are given
// samples alone.
void Experiment::check_network_inputs(const Network& network, const Value& origin) const {
  if (!makes_samples(loss->makes()) && loss->makes() != Makes::embedding) {
    return;
  }
  const std::vector<std::string> reads = network.inputs();
  for (const Input& input : spec_.inputs) {
    if (input.classes == 0 && std::find(reads.begin(), reads.end(), input.name) == reads.end()) {
      throw RequestError(to_string(origin.origin) + ": network.type: " + network_table_.find("type")->text() +
                         " takes no input '" + input.name + "', which the model is given");
    }
  }
}

// Plugins that a list names, [table] key, each with a table of its own, [KIND.NAME].
template <class T>
std::vector<std::pair<std::string, std::shared_ptr<T>>> Experiment::build_listed(
    const char* table, const char* key, const std::vector<std::string>& names) {
  std::vector<std::pair<std::string, std::shared_ptr<T>>> out;
  const std::string kind = T::kind;
  const Value* own_tables = root_.find(kind);
  const auto require_table = [](const Value& value, const std::string& name) {
    if (!value.is_table()) {
      throw RequestError(to_string(value.origin) + ": '" + name + "' is " + value.type_name() + "; expected a table");
    }
  };
  if (own_tables != nullptr) {
    require_table(*own_tables, kind);
    for (const auto& [name, value] : own_tables->table()) {
      require_table(value, kind + "." + name);
    }
  }
  const Value* list = root_.find(table) != nullptr ? root_.find(table)->find(key) : nullptr;
  for (const std::string& name : names) {
    Value own;
    if (list != nullptr) {
      own.origin = list->origin;
    }
    if (const Value* given = own_tables != nullptr ? own_tables->find(name) : nullptr) {
      own = *given;
    }
    own["type"] = Value{name, list != nullptr ? list->origin : own.origin};
    out.emplace_back(name, std::static_pointer_cast<T>(build_plugin(T::kind, kind + "." + name, own)));
  }
  if (own_tables != nullptr) {  // a table of one that is not asked for may stay, but must be of that kind
    for (const auto& [name, value] : own_tables->table()) {
      const std::vector<std::string> known = registry_.names(T::kind);
      if (std::find(known.begin(), known.end(), name) == known.end()) {
        throw RequestError(to_string(value.origin) + ": unknown table [" + kind + "." + name + "]" +
                           did_you_mean(name, known));
      }
    }
  }
  if (Value* resolved = resolved_.find(kind)) {
    for (const auto& [name, value] : resolved->table()) {
      (*resolved)[name].erase("type");
    }
  }
  return out;
}

void Experiment::build_trained_model() {
  build_loss();
  host_table("student", [&](Params& p) {
    student.emplace(p);
    if (!student->from_teacher) {
      parametrisation_ = Parametrisation(p);
      parametrisation_.check(process_, p);
      boundary_ = Boundary(p, parametrisation_);
      return;
    }
    if (teacher_checkpoint_.empty()) {
      throw p.error("init", "\"teacher\" needs a teacher that is read from a checkpoint");
    }
    const Value* network = root_.find("network");
    // Keys of a network by its name, [network.NAME], are for cells of a sweep that choose it.
    if (network != nullptr && std::any_of(network->table().begin(), network->table().end(),
                                          [](const auto& entry) { return !entry.second.is_table(); })) {
      throw RequestError(
          to_string(network->origin) +
          ": [network] has no effect with student.init = \"teacher\"; leave it out, or give student.init = "
          "\"random\" with it");
    }
    network_table_ = *read_checkpoint_config(teacher_checkpoint_, &registry_).find("model")->find("network");
    // The teacher's parametrisation is taken over; written in [student] it would be an unknown key.
    parametrisation_ = teacher->parametrisation();
    boundary_ = Boundary(p, parametrisation_);
  });
  if (const Value* network = student->from_teacher ? nullptr : root_.find("network")) {
    // Once here, so that errors come before any work.
    const auto built = std::static_pointer_cast<Network>(build_plugin(Network::kind, "network", *network));
    network_table_ = *resolved_.find("network");
    if (loss) {
      check_network_inputs(*built, *network);
    }
    for (const std::string& key : paths_) {  // checkpoints hold this table, and may be read from anywhere
      const std::string own = key.starts_with("network.") ? key.substr(8) : "";
      const Value* value = own.empty() ? nullptr : at_path(network_table_, own);
      const std::string* path = value != nullptr ? std::get_if<std::string>(&value->data) : nullptr;
      if (path != nullptr && !path->empty()) {
        set_path(network_table_, own, Value{std::filesystem::absolute(*path).lexically_normal().string(), {}});
      }
    }
  }
  host_table("train", [&](Params& p) { train.emplace(p); });
  const std::optional<Value> encoder = take_features_table();
  host_table("evaluate", [&](Params& p) {
    evaluate.emplace(p);
    if (evaluate->student_steps.empty()) {
      throw p.error("student_steps", "is an empty list; expected at least one number of sampler steps");
    }
    if (!evaluate->features.empty()) {
      feature_network = std::static_pointer_cast<Network>(
          remember("evaluate.features", evaluate->features, [&] { return build_features(p); }));
    }
  });
  if (encoder) {
    build_encoder(*encoder);
  }
  drop_points_beyond_the_end();
  drop_steps_of_generators();
  if (!evaluate->ema_lengths.empty() && train->ema_lengths.size() == 1) {
    notes_.push_back(
        "train.ema_lengths has one length; evaluate.ema_lengths come nearer to what they are to be with two");
  }
  host_table("report", [&](Params& p) { report.emplace(p); });
  host_table("track", [&](Params& p) { track.emplace(p); });
  metrics = build_listed<Metric>("evaluate", "metrics", evaluate->metrics);
  trackers = build_listed<Tracker>("track", "trackers", track->trackers);
}

// Of a training that was made shorter, the points that are left.
void Experiment::drop_points_beyond_the_end() {
  std::string dropped;
  const auto beyond = [&](int64_t step) { return step > train->steps; };
  for (const int64_t step : evaluate->at) {
    dropped += beyond(step) ? (dropped.empty() ? "" : ", ") + std::to_string(step) : "";
  }
  if (dropped.empty()) {
    return;
  }
  notes_.push_back("evaluate.at: left out " + dropped + ", beyond train.steps = " + std::to_string(train->steps));
  std::erase_if(evaluate->at, beyond);
  std::erase_if(std::get<Array>(resolved_["evaluate"]["at"].data),
                [&](const Value& step) { return beyond(std::get<int64_t>(step.data)); });
}

// Of a list of sampler steps, what a generator can take.
void Experiment::drop_steps_of_generators() {
  std::vector<int64_t>& steps = evaluate->student_steps;
  if (!loss || loss->makes() != Makes::generator || std::find(steps.begin(), steps.end(), 1) == steps.end() ||
      steps.size() == 1) {
    return;
  }
  notes_.push_back("evaluate.student_steps: all but 1 are left out; " + loss_name() + " makes samples in one step");
  steps = {1};
  resolved_["evaluate"]["student_steps"] = Value{Array{Value{int64_t{1}, {}}}, {}};
}

namespace {

// The change alone, to be weighed anew.
std::string adapter_to_weigh(const std::string& path) {
  std::string out = adapter_of(path).string();
  if (!std::filesystem::exists(out)) {
    throw RequestError(path + ": has no adapter beside it; student.adapter_scale needs one");
  }
  return out;
}

}  // namespace

Checkpoint Experiment::checkpoint(const std::string& path) {
  last_checkpoint_ = path;
  if (std::filesystem::path(path).extension() == ".toml" && std::filesystem::exists(path)) {
    if (!maker_) {
      throw RequestError(path + ": is a configuration; expected a checkpoint here");
    }
    if (!made_.contains(path)) {
      made_[path] = maker_(path);
    }
    last_checkpoint_ = made_.at(path);
  }
  const std::vector<std::string> bases = {student ? student->base : "", teacher_checkpoint_};
  const double scale = table_.empty() && student ? student->adapter_scale : 1;  // of the student, not of other parts
  Checkpoint out = scale == 1 ? read_checkpoint(last_checkpoint_, bases, &registry_)
                              : read_checkpoint(adapter_to_weigh(last_checkpoint_), bases, &registry_, scale);
  const std::string is = objective_of(out);
  const std::string wanted = name_of(Makes::denoiser);
  if (table_ == Teacher::kind && !is.empty() && is != wanted) {
    throw RequestError(last_checkpoint_ + ": is a " + is + ", and teacher.checkpoint expects a " + wanted +
                       ", a diffusion model");
  }
  return out;
}

std::shared_ptr<Network> Experiment::network(const Checkpoint& checkpoint, const std::string& path) {
  std::shared_ptr<Network> network = build_network(*this, checkpoint, path, {}, 1, FileWeights::in_place);
  frozen_backend_->place(*network);
  return network;
}

std::shared_ptr<Network> Experiment::new_network() {
  if (student->from_teacher) {
    const FileWeights weights = student->merged ? FileWeights::copied : FileWeights::in_place;
    const std::shared_ptr<Network> made = build_network(*this, read_checkpoint(teacher_checkpoint_, {}, &registry_),
                                                        teacher_checkpoint_, spec_.inputs, spec_.outputs, weights);
    training_backend_->place(*made);
    return made;
  }
  Params p(network_table_, "network", this);
  const std::string type = p.get("type", "", "");
  auto made = std::static_pointer_cast<Network>(make(Network::kind, type, p));
  training_backend_->place(*made);
  return made;
}

Model Experiment::model(std::shared_ptr<CompiledNetwork> network) const {
  return {std::move(network),         process_, parametrisation_, boundary_, loss ? loss->makes() : Makes::consistency,
          spec_.has(inputs::end_time)};
}

const std::vector<double>& Experiment::class_shares() const {
  const int64_t classes = spec_.classes();
  if (shares_.empty() && classes > 0) {
    shares_.assign(static_cast<size_t>(classes), 1.0 / static_cast<double>(classes));
    const Tensor labels = dataset && !evaluate->equal_labels ? dataset->labels(Split::train) : Tensor();
    if (labels.defined() && labels.numel() > 0) {
      const Tensor counts = at::bincount(labels, {}, classes).to(at::kDouble);
      for (int64_t c = 0; c < classes; ++c) {
        shares_[static_cast<size_t>(c)] = counts[c].item<double>() / static_cast<double>(labels.numel());
      }
    }
  }
  return shares_;
}

Value Experiment::model_table() const {
  Value out;
  out["network"] = network_table_;
  out["process"] = process_.to_value();
  parametrisation_.write(out);
  if (const Value* boundary = resolved_.find("student")->find("boundary")) {
    out["boundary"] = *boundary;
  }
  write_spec(spec_, out);
  return out;
}

}  // namespace retort
