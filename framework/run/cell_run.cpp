#include "run/cell_run.h"

#include <ATen/ATen.h>
#include <torch/headeronly/version.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "config/toml.h"
#include "io/files.h"
#include "io/png.h"
#include "log.h"
#include "plugin/guarded.h"
#include "run/provenance.h"
#include "train/group.h"
#include "train/trainer.h"

namespace retort {

namespace fs = std::filesystem;

namespace {
constexpr const char* measured_name = "measured.json";  // of an evaluation under way
}

void set_aside(const fs::path& folder) {
  fs::path aside;
  for (int i = 1; fs::exists(aside = folder.string() + "~" + std::to_string(i)); ++i) {
  }
  std::error_code error;
  fs::rename(folder, aside, error);
  if (error) {
    throw Error(folder.string() + ": holds other results, which cannot be moved to " + aside.string() + ": " +
                error.message());
  }
  log::info("the earlier results of another configuration are now in " + aside.string());
}

ModelMaker model_maker(const Registry& registry, const Store& store) {
  return [&registry, store](const std::string& config) {
    Cell cell;
    cell.config = read_config(config);
    if (cell.config.find("sweep") != nullptr) {
      throw RequestError(config + ": trains several models, in a [sweep]; expected one to be used as a checkpoint");
    }
    CellRun made(cell, fs::path(config).stem().string(), "", registry, store);
    const TrainSettings& train = *made.experiment().train;
    const std::string name = Trainer::checkpoint_path("", train.steps).string();
    if (Group::world().size() > 1 && !fs::exists(store.folder_of(made.experiment().fingerprint()) / name)) {
      throw RequestError(config +
                         ": its model is not trained yet, which one process has to do; start this once "
                         "without torchrun");
    }
    return store
        .make(made.experiment().fingerprint(), name,
              [&](const fs::path& folder) {
                log::info("training the model of " + config + ", once for all runs");
                CellRun run(cell, fs::path(config).stem().string(), folder, registry, store);
                make_folder(folder);
                run.train(nullptr);
              })
        .string();
  };
}

CellRun::CellRun(const Cell& cell, const std::string& default_name, fs::path folder, const Registry& registry,
                 const Store& store)
    : cell_(cell),
      folder_(std::move(folder)),
      experiment_(
          std::make_unique<Experiment>(cell.config, default_name, registry, Parts::all, model_maker(registry, store))) {
  if (!experiment_->loss) {
    throw RequestError(to_string(cell.config.origin) + ": [loss] is missing; there is nothing to train");
  }
  const Value* at = experiment_->resolved().find("evaluate")->find("at");
  training_print_ = sha256_of_text(experiment_->fingerprint({"backend", "dataset", "process", "teacher", "network",
                                                             "student", "solver", "schedule", "loss", "train"}) +
                                   std::to_string(experiment_->run->seed) + at->text() +
                                   (experiment_->evaluate->last_weights ? "last" : "average"));
  print_ = sha256_of_text(experiment_->fingerprint());
}

bool CellRun::finished() const {
  if (!fs::exists(folder_ / "results.json")) {
    return false;
  }
  const Json results = Json::parse(read_text(folder_ / "results.json"), nullptr, false);
  return results.is_object() && results.value("fingerprint", "") == print_;
}

bool CellRun::trained() const { return fs::exists(Trainer::checkpoint_path(folder_, experiment_->train->steps)); }

void CellRun::prepare(bool fresh, bool frozen) {
  const fs::path print = folder_ / "training.sha256";
  if (fs::exists(folder_ / "config.toml")) {
    const bool same = fs::exists(print) && read_text(print) == training_print_ + "\n";
    if (!same || fresh) {
      set_aside(folder_);
    }
  }
  make_folder(folder_);
  for (const fs::path& place : {folder_, folder_ / "checkpoints", folder_ / "samples"}) {
    remove_half_written(place);
  }
  write_text(print, training_print_ + "\n");
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
    const auto network = e.new_network();
    network->module()->eval();
    e.backend().place(*network);
    SharedTensors own;
    const Model model = e.model(e.backend().compile(network));
    EvaluationResult result;
    if (e.teacher && e.loss->objective() == Objective::consistency) {
      ModelEvaluator evaluator(e, e.teacher.get(), own, "", middle_guidance(e), /*trial=*/true);
      evaluator.measure({});
      result = evaluator.measure({&model, e.evaluate->student_steps.front()});
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
  write_text(file, Json({{"at", now}, {"deaths", deaths}}).dump() + "\n");
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

// Rows whose classes go round, as those of the generated samples beside them do.
Tensor by_class(const Batch& data, int64_t classes, int64_t wanted) {
  std::vector<int64_t> used(static_cast<size_t>(classes), 0);
  std::vector<Tensor> rows;
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t label = i % classes;
    const Tensor of_class = at::nonzero(data.condition.labels == label).view({-1});
    if (of_class.numel() == 0) {
      continue;
    }
    int64_t& next = used[static_cast<size_t>(label)];
    rows.push_back(data.x[of_class[next++ % of_class.numel()].item<int64_t>()]);
  }
  return at::stack(rows);
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
  const Batch data = e.dataset->batch(Split::test, at::arange(count, at::kLong));
  save_samples(e.classes() > 0 && data.condition.labels.defined() ? by_class(data, e.classes(), wanted) : data.x,
               "data");
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
                 Json({{"fingerprint", print_}, {"steps", measured_}, {"results", results_}}).dump() + "\n");
    }
  }
  const Json provenance = write_provenance(folder_, frozen);
  results_["plugins"] = provenance["plugins"];
  results_["libraries"] = provenance["libraries"];
  results_["fingerprint"] = print_;
  write_text(folder_ / "results.json", results_.dump(1) + "\n");
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
