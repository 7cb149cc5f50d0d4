#include "run/cell_run.h"

#include <ATen/ATen.h>
#include <torch/headeronly/version.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <map>

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/png.h"
#include "log.h"
#include "plugin/guarded.h"
#include "run/provenance.h"
#include "sample/draws.h"
#include "train/group.h"
#include "train/trainer.h"

namespace retort {

namespace fs = std::filesystem;

namespace {
constexpr const char* measured_name = "measured.json";  // of an evaluation under way
}

void set_aside(const fs::path& folder, const std::string& why) {
  fs::path aside;
  for (int i = 1; fs::exists(aside = folder.string() + "~" + std::to_string(i)); ++i) {
  }
  std::error_code error;
  fs::rename(folder, aside, error);
  if (error) {
    throw Error(folder.string() + ": holds other results, which cannot be moved to " + aside.string() + ": " +
                error.message());
  }
  log::info("what " + folder.string() + " held is now in " + aside.string() + ", as " + why);
}

ModelMaker model_maker(const Registry& registry, const Store& store, Models models) {
  return [&registry, store, models](const std::string& config) {
    Cell cell;
    cell.config = read_config(config);
    if (cell.config.find("sweep") != nullptr) {
      throw RequestError(config + ": trains several models, in a [sweep]; expected one to be used as a checkpoint");
    }
    const std::string title = fs::path(config).stem().string();
    const CellRun made(cell, title, "", registry, store, models);
    const TrainSettings& train = *made.experiment().train;
    const std::string name = Trainer::checkpoint_path("", train.steps).string();
    const std::string key = made.experiment().training_fingerprint();
    const fs::path there = store.folder_of(key) / name;
    if (models == Models::find && !fs::exists(there)) {
      throw NotTrained(config + ": its model is not trained yet, and this command trains nothing; `retort run` of what "
                       "names it does, or name a checkpoint (.safetensors)");
    }
    if (Group::world().size() > 1 && !fs::exists(there)) {
      throw RequestError(config +
                         ": its model is not trained yet, which one process has to do; start this once "
                         "without torchrun");
    }
    return store
        .make(key, name,
              [&](const fs::path& folder) {
                log::info("training the model of " + config + ", once for all runs");
                CellRun run(cell, title, folder, registry, store, models);
                make_folder(folder);
                run.train(nullptr);
              })
        .string();
  };
}

CellRun::CellRun(const Cell& cell, const std::string& default_name, fs::path folder, const Registry& registry,
                 const Store& store, Models models)
    : cell_(cell),
      folder_(std::move(folder)),
      experiment_(std::make_unique<Experiment>(cell.config, default_name, registry, Parts::all,
                                               model_maker(registry, store, models))) {
  if (!experiment_->loss) {
    throw RequestError(to_string(cell.config.origin) + ": [loss] is missing; there is nothing to train");
  }
  training_print_ = sha256_of_text(experiment_->training_fingerprint());
  print_ = sha256_of_text(experiment_->fingerprint());
}

bool CellRun::finished() const {
  if (!fs::exists(folder_ / "results.json")) {
    return false;
  }
  const Json results = Json::parse(read_text(folder_ / "results.json"), nullptr, false);
  return results.is_object() && results.value("fingerprint", "") == print_;
}

bool CellRun::trained() const {
  const auto there = [&](int64_t step) { return fs::exists(Trainer::checkpoint_path(folder_, step)); };
  return there(experiment_->train->steps) && std::all_of(experiment_->evaluate->at.begin(),
                                                         experiment_->evaluate->at.end(), there);
}

bool CellRun::is_same_training() const {
  const fs::path print = folder_ / "training.sha256";
  return fs::exists(print) && read_text(print) == training_print_ + "\n";
}

// A point to be evaluated that the training in the folder has passed without keeping its weights; 0: there is none.
int64_t CellRun::passed_point() const {
  int64_t reached = -1;
  for (const int64_t step : experiment_->evaluate->at) {
    if (fs::exists(Trainer::checkpoint_path(folder_, step))) {
      continue;
    }
    if (reached < 0) {
      const int64_t last = experiment_->train->steps;
      reached = fs::exists(Trainer::checkpoint_path(folder_, last)) ? last : Trainer::saved_step(folder_);
    }
    if (step <= reached) {
      return step;
    }
  }
  return 0;
}

namespace {

// The first key whose value differs and matters so much, as "train.steps = 10, not 20".
std::string first_difference(const Value& before, const Value& now, const std::string& path, Affects least) {
  for (const auto& [key, value] : now.table()) {
    const std::string own = path.empty() ? key : path + "." + key;
    const Value* old = before.find(key);
    if (value.is_table() && old != nullptr && old->is_table()) {
      if (std::string inner = first_difference(*old, value, own, least); !inner.empty()) {
        return inner;
      }
    } else if (affects(own) >= least && (old == nullptr || old->text() != value.text())) {
      return own + " = " + (old != nullptr ? old->text() : "(none)") + ", not " + value.text();
    }
  }
  return "";
}

}  // namespace

std::string CellRun::difference() const {
  std::string found;
  try {
    const Value saved = read_toml((folder_ / "config.toml").string());
    found = first_difference(saved, experiment_->resolved_for(folder_), "", Affects::training);
  } catch (const Error&) {
    return "its configuration cannot be read";
  }
  return found.empty() ? "it was trained by other plugins, or with files of other content" : "it was trained with " + found;
}

void CellRun::require_trained() const {
  const std::string again = "; `retort train`, with the configuration and overrides that are meant, makes one";
  if (!fs::exists(folder_ / "config.toml")) {
    throw RequestError(folder_.string() + ": holds no training of this configuration" + again);
  }
  if (!is_same_training()) {
    throw RequestError(folder_.string() + ": holds another training: " + difference() +
                       "; give the configuration and overrides that it was trained with");
  }
  if (const int64_t step = passed_point(); step > 0) {
    throw RequestError(folder_.string() + ": holds no weights after step " + std::to_string(step) +
                       ", which evaluate.at asks for");
  }
  if (!trained()) {
    throw RequestError(folder_.string() + ": its training is not finished; `retort train` goes on with it");
  }
}

// Threads sum in another order, so the last digits change; that is no reason to begin anew.
void CellRun::say_threads() const {
  if (trained()) {
    return;
  }
  const Value saved = read_toml((folder_ / "config.toml").string());
  for (const char* key : {"backend.threads", "backend.student.threads"}) {
    const Value* before = at_path(saved, key);
    const Value* now = at_path(experiment_->resolved(), key);
    if (before != nullptr && now != nullptr && before->text() != now->text()) {
      log::info(std::string("goes on with ") + key + " = " + now->text() + ", begun with " + before->text() +
                ": the last digits will differ from those of one go");
    }
  }
}

void CellRun::prepare(bool fresh, bool frozen) {
  if (fs::exists(folder_ / "config.toml")) {
    if (!is_same_training()) {
      set_aside(folder_, difference());
    } else if (fresh) {
      set_aside(folder_, "--fresh begins anew");
    } else if (const int64_t step = passed_point(); step > 0) {
      set_aside(folder_, "it holds no weights after step " + std::to_string(step) + ", which evaluate.at asks for");
    } else {
      say_threads();
    }
  }
  make_folder(folder_);
  for (const fs::path& place : {folder_, folder_ / "checkpoints", folder_ / "samples"}) {
    remove_half_written(place);
  }
  write_text(folder_ / "training.sha256", training_print_ + "\n");
  write_text(folder_ / "config.toml", write_toml(experiment_->resolved_for(folder_)));
  write_provenance(folder_, frozen);
}

std::string CellRun::trial_key() const {
  const Experiment& e = *experiment_;
  return e.fingerprint({"backend", "dataset", "process", "teacher", "network", "student", "solver", "schedule", "loss",
                        "evaluate", "metric"});
}

void CellRun::try_evaluation() {
  Experiment& e = *experiment_;
  try {
    if (e.dataset) {
      for (const Split split : {Split::train, Split::test}) {
        e.dataset->batch(split, at::arange(std::min<int64_t>(e.dataset->size(split), 2), at::kLong));
      }
    }
    const auto network = e.new_network();
    network->module()->eval();
    e.backend().place(*network);
    SharedTensors own;
    const Model model = e.model(e.backend().compile(network));
    EvaluationResult result;
    if (e.teacher && e.loss->objective() == Objective::consistency) {
      ModelEvaluator evaluator(e, e.teacher.get(), own, "", middle_guidance(e), /*trial=*/true);
      evaluator.measure({});
      for (const int64_t steps : e.evaluate->student_steps) {  // metrics differ in which samplers they measure
        result = evaluator.measure({&model, steps});
      }
    } else if (e.loss->objective() == Objective::denoiser) {
      const ModelTeacher as_teacher(model, e.task().shape, e.classes());
      result = ModelEvaluator(e, &as_teacher, own, "", 1, /*trial=*/true).measure({});
    } else {
      ModelEvaluator(e, nullptr, own, "", 1, /*trial=*/true).measure({&model, 0});
    }
    if (result.samples.defined() && e.dataset) {
      e.dataset->pictures(result.samples);
    }
  } catch (const RequestError&) {
    throw;
  } catch (const PluginError& error) {
    if (error.kind != Metric::kind) {
      throw;  // the plugin is broken, not the request
    }
    throw RequestError(to_string(cell_.config.origin) + ": what is to be trained cannot be evaluated: " + error.what());
  } catch (const Error& error) {
    throw RequestError(to_string(cell_.config.origin) +
                       ": what is to be trained cannot be evaluated (tried on two samples): " + error.what());
  }
}

// How far the work has come, for telling whether anything was done between two deaths.
std::string CellRun::progress() const {
  std::string out = trained() ? "trained" : "step " + std::to_string(Trainer::saved_step(folder_));
  const fs::path measured = folder_ / measured_name;
  return out + ", " + (fs::exists(measured) ? sha256_of_file(measured).substr(0, 12) : "nothing") + " measured";
}

void CellRun::count_death(bool died) {
  constexpr int64_t most = 3;  // it is likely to bring the next worker down too
  const fs::path file = folder_ / "deaths.json";
  const Json before =
      fs::exists(file) ? Json::parse(read_text(file), nullptr, /*allow_exceptions=*/false) : Json::object();
  const std::string now = progress();
  const bool same = before.is_object() && before.value("at", "") == now;
  const int64_t deaths = died ? (same ? before.value("deaths", int64_t{0}) : 0) + 1 : 0;
  write_text(file, spell({{"at", now}, {"deaths", deaths}}) + "\n");
  if (deaths >= most) {
    throw Error("its worker died " + std::to_string(deaths) + " times at it without getting on (" + now +
                "); not tried again");
  }
}

void CellRun::train(std::shared_ptr<SolveMemory> memory) {
  if (!Group::world().from_first(trained())) {
    Trainer(*experiment_, folder_, std::move(memory)).run();
  }
}

// Pictures as a PNG grid, points as CSV. Returns the file's path within the folder, or "".
std::string CellRun::save_samples(const Tensor& samples, const std::string& name) const {
  make_folder(folder_ / "samples");
  const int64_t shown = std::min(experiment_->evaluate->pictures, samples.size(0));
  const Tensor pictures =
      experiment_->dataset && shown > 0 ? experiment_->dataset->pictures(samples.narrow(0, 0, shown)) : Tensor();
  if (pictures.defined()) {
    write_text(folder_ / "samples" / (name + ".png"), encode_png(picture_grid(pictures, std::min<int64_t>(shown, 16))));
    return "samples/" + name + ".png";
  }
  if (samples.dim() == 2) {
    constexpr int64_t most = 2000;
    write_samples(folder_ / "samples" / (name + ".csv"),
                  samples.narrow(0, 0, std::min(most, samples.size(0))).to(at::kFloat));
    return "samples/" + name + ".csv";
  }
  return "";
}

namespace {

// Rows of the same classes, one by one, as the generated samples beside them.
Tensor by_class(const Batch& data, const Tensor& labels) {
  std::map<int64_t, int64_t> used;
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < labels.size(0); ++i) {
    const int64_t label = labels[i].item<int64_t>();
    const Tensor of_class = at::nonzero(data.condition.labels == label).view({-1});
    if (of_class.numel() > 0) {
      rows.push_back(data.x[of_class[used[label]++ % of_class.numel()].item<int64_t>()]);
    }
  }
  return rows.empty() ? data.x : at::stack(rows);
}

Json series_json(const Measurement& m) {
  Json out = Json::object();
  for (const auto& [name, points] : m.series) {
    out[name] = points;
  }
  return out;
}

}  // namespace

void CellRun::save_data() const {
  const Experiment& e = *experiment_;
  if (!e.dataset || e.loss->objective() == Objective::classifier) {
    return;
  }
  const int64_t wanted = std::max<int64_t>(e.evaluate->pictures, e.task().shape.size() == 1 ? 2000 : 0);
  if (wanted == 0) {
    return;
  }
  const int64_t count = std::min<int64_t>(e.dataset->size(Split::test), std::max<int64_t>(wanted, 1000));
  const Batch data = e.dataset->batch(Split::test, drawn_rows(*e.dataset, count, e.evaluate->seed));
  const bool labelled = e.classes() > 0 && data.condition.labels.defined();
  save_samples(labelled ? by_class(data, sample_labels(e, wanted)) : data.x, "data");
}

void CellRun::evaluate(SharedTensors& shared, bool frozen) {
  Experiment& e = *experiment_;
  load_measured();
  results_["name"] = e.run->name;
  results_["config"] = retort::to_json(e.resolved());
  results_["versions"] = {{"retort", RETORT_VERSION},
                          {"libtorch", std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) +
                                           "." + std::to_string(TORCH_VERSION_PATCH)},
                          {"backend", e.backend().describe()}};
  save_data();
  std::vector<int64_t> steps = e.evaluate->at;
  steps.push_back(e.train->steps);
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  for (const int64_t step : steps) {
    if (std::find(measured_.begin(), measured_.end(), step) == measured_.end()) {
      evaluate_checkpoint(shared, step);
      measured_.push_back(step);
      write_text(folder_ / measured_name,
                 spell({{"fingerprint", print_}, {"steps", measured_}, {"results", results_}}) + "\n");
    }
  }
  const Json provenance = write_provenance(folder_, frozen);
  results_["plugins"] = provenance["plugins"];
  results_["libraries"] = provenance["libraries"];
  results_["fingerprint"] = print_;
  write_text(folder_ / "results.json", spell(results_, 1) + "\n");
  std::error_code ignored;
  for (const char* name : {measured_name, "deaths.json"}) {
    fs::remove(folder_ / name, ignored);
  }
}

// What an evaluation of this very configuration had measured when it was cut off.
void CellRun::load_measured() {
  results_ = {{"teacher", {{"evaluations", 0}, {"metrics", Json::object()}}},
              {"students", Json::array()},
              {"progress", Json::array()}};
  measured_.clear();
  if (!fs::exists(folder_ / measured_name)) {
    return;
  }
  const Json kept = Json::parse(read_text(folder_ / measured_name), nullptr, /*allow_exceptions=*/false);
  if (kept.is_object() && kept.value("fingerprint", "") == print_) {
    results_ = kept.at("results");
    measured_ = kept.at("steps").get<std::vector<int64_t>>();
  }
}

void CellRun::evaluate_teacher(SharedTensors& shared, double guidance) {
  ModelEvaluator evaluator(*experiment_, experiment_->teacher.get(), shared, experiment_->teacher_key(), guidance);
  const EvaluationResult result = evaluator.measure({});
  results_["teacher"] = {{"evaluations", evaluator.endpoint_evaluations()}, {"metrics", to_json(result.measurement)}};
  if (result.samples.defined()) {
    save_samples(result.samples, "teacher");
  }
}

void CellRun::evaluate_checkpoint(SharedTensors& shared, int64_t step) {
  Experiment& e = *experiment_;
  const fs::path path = Trainer::checkpoint_path(folder_, step);
  const Checkpoint checkpoint = e.checkpoint(path.string());
  const TrainingRecord record = Trainer::record(checkpoint);
  const Model model = e.model(e.backend().compile(e.network(checkpoint, path.string())));
  log::info("evaluating" + (cell_.name.empty() ? "" : " " + cell_.name) + " after " + std::to_string(step) + " steps");
  if (e.teacher && e.loss->objective() == Objective::consistency) {
    std::vector<double> weights = e.evaluate->guidance;
    if (!e.task().guided || weights.empty()) {
      weights = {middle_guidance(e)};
    }
    if (results_["progress"].empty()) {
      evaluate_teacher(shared, weights[0]);
    }
    for (const double w : weights) {
      ModelEvaluator evaluator(e, e.teacher.get(), shared, e.teacher_key(), w);
      for (const int64_t student_steps : e.evaluate->student_steps) {
        add_row(record, student_steps, evaluator.measure({&model, student_steps}), w);
      }
    }
  } else if (e.loss->objective() == Objective::denoiser) {
    SharedTensors own;
    const ModelTeacher as_teacher(model, e.task().shape, e.classes());
    ModelEvaluator evaluator(e, &as_teacher, own, "");
    const EvaluationResult result = evaluator.measure({});
    add_row(record, 0, result, 1);
    results_["teacher"] = {{"evaluations", evaluator.endpoint_evaluations()}, {"metrics", to_json(result.measurement)}};
  } else {
    ModelEvaluator evaluator(e, nullptr, shared, e.teacher_key());
    add_row(record, 0, evaluator.measure({&model, 0}), 1);
  }
}

void CellRun::add_row(const TrainingRecord& record, int64_t student_steps, const EvaluationResult& result,
                      double guidance) {
  Json row;
  row["cell"] = cell_.name;
  row["loss"] = std::get<std::string>(experiment_->resolved().find("loss")->find("type")->data);
  for (const auto& [key, value] : cell_.values.table()) {
    row["swept"][key] = retort::to_json(value);
  }
  row["student_steps"] = student_steps;
  if (experiment_->task().guided) {
    row["guidance"] = guidance;
  }
  row["train_steps"] = record.step;
  row["teacher_evaluations"] = record.teacher_evaluations;
  row["remembered_evaluations"] = record.remembered;
  row["train_seconds"] = record.seconds;
  row["metrics"] = to_json(result.measurement);
  row["series"] = series_json(result.measurement);
  if (result.samples.defined()) {
    row["samples"] =
        save_samples(result.samples, "after_" + std::to_string(record.step) +
                                         (student_steps > 0 ? "_in_" + std::to_string(student_steps) : "") +
                                         (experiment_->task().guided ? "_at_" + Value{guidance, {}}.text() : ""));
  }
  results_["progress"].push_back(row);
  if (record.step == experiment_->train->steps) {
    results_["students"].push_back(row);
  }
}

}  // namespace retort
