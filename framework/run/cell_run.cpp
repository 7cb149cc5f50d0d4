#include "run/cell_run.h"

#include <ATen/ATen.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <map>

#include "config/layers.h"
#include "config/toml.h"
#include "io/files.h"
#include "io/json_file.h"
#include "io/png.h"
#include "log.h"
#include "results/schema.h"
#include "run/provenance.h"
#include "sample/draws.h"
#include "train/averages.h"
#include "train/group.h"
#include "train/trainer.h"

namespace retort {

namespace fs = std::filesystem;

ModelMaker model_maker(const Registry& registry, const Store& store, Models models) {
  return [&registry, store, models](const std::string& config) {
    Cell cell;
    cell.config = read_config(config);
    if (cell.config.find("sweep") != nullptr) {
      throw RequestError(config + ": trains several models, in a [sweep]; expected one to be used as a checkpoint");
    }
    const std::string title = fs::path(config).stem().string();
    const CellRun made(cell, title, "", registry, store, models);
    if (!made.trains()) {
      throw RequestError(config + ": [loss] is missing; expected a configuration that trains a model");
    }
    const TrainSettings& train = *made.experiment().train;
    if (!Budget(train).counts_steps_alone()) {
      throw RequestError(config +
                         ": its training ends by train.evaluations or train.seconds; expected train.steps alone, "
                         "where its model is used as a checkpoint");
    }
    const std::string name = Trainer::checkpoint_path("", train.steps).string();
    const std::string key = made.experiment().training_fingerprint();
    const fs::path there = store.folder_of(key) / name;
    if (models == Models::find && !fs::exists(there)) {
      throw NotTrained(config +
                       ": its model is not trained yet, and this command trains nothing; `retort run` of what "
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
                 const Store& store, Models models, PartsMemo* memo)
    : cell_(cell),
      folder_(std::move(folder)),
      experiment_(std::make_unique<Experiment>(cell.config, default_name, registry, Parts::all,
                                               model_maker(registry, store, models), memo)) {
  const Experiment& e = *experiment_;
  if (!trains() && !(e.teacher && e.solver && e.schedule && !e.metrics.empty())) {
    throw RequestError(
        to_string(cell.config.origin) +
        ": [loss] is missing; there is nothing to train. Where a solver is to be measured alone, [teacher], "
        "[solver], [schedule] and evaluate.metrics are needed");
  }
  training_print_ = sha256_of_text(experiment_->training_fingerprint());
  print_ = sha256_of_text(experiment_->fingerprint());
}

void CellRun::train(std::shared_ptr<SolveMemory> memory, std::optional<int64_t> until) {
  const auto there = [&] { return until && fs::exists(Trainer::checkpoint_path(folder_, *until)); };
  if (trains() && !Group::world().from_first(trained() || there())) {
    tracked_ = true;
    Trainer(*experiment_, folder_, std::move(memory)).run(until);
  }
}

// Pictures as a PNG grid, points as CSV. They are states, or samples of `data`. Returns the file's path within the
// folder, or "".
std::string CellRun::save_samples(const Tensor& samples, const std::string& name, const Dataset* data) const {
  make_folder(folder_ / "samples");
  const int64_t shown = std::min(experiment_->evaluate->pictures, samples.size(0));
  const Tensor first = samples.narrow(0, 0, shown);
  const Tensor pictures = shown == 0 ? Tensor() : data != nullptr ? data->pictures(first) : experiment_->shown(first);
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
    const Tensor of_class = at::nonzero(data.condition[inputs::labels] == label).view({-1});
    if (of_class.numel() > 0) {
      rows.push_back(data.x[of_class[used[label]++ % of_class.numel()].item<int64_t>()]);
    }
  }
  return rows.empty() ? data.x : at::stack(rows);
}

}  // namespace

void CellRun::save_data() const {
  const Experiment& e = *experiment_;
  if (!e.dataset || (trains() && !makes_samples(e.loss->makes()))) {
    return;
  }
  const int64_t wanted = std::max<int64_t>(e.evaluate->pictures, e.spec().shape.size() == 1 ? 2000 : 0);
  if (wanted == 0) {
    return;
  }
  const Dataset& source = *e.picture_data();
  const int64_t count = std::min<int64_t>(source.size(Split::test), std::max<int64_t>(wanted, 1000));
  const Batch data = source.batch(Split::test, drawn_rows(source, count, e.evaluate->seed));
  const bool labelled = e.classes() > 0 && data.condition[inputs::labels].defined();
  save_samples(labelled ? by_class(data, sample_labels(e, wanted)) : data.x, "data", &source);
}

void CellRun::begin_results() {
  const Experiment& e = *experiment_;
  load_measured();
  results_["name"] = e.run->name;
  results_["config"] = retort::to_json(e.resolved());
  results_["versions"] = {{"retort", RETORT_VERSION},
                          {"libtorch", std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) +
                                           "." + std::to_string(TORCH_VERSION_PATCH)},
                          {"backend", e.backend().describe()}};
  make_folder(folder_);
}

void CellRun::write_results(const std::string& fingerprint, bool frozen) {
  const Json provenance = write_provenance(folder_, frozen);
  results_["plugins"] = provenance["plugins"];
  results_["libraries"] = provenance["libraries"];
  results_["fingerprint"] = fingerprint;
  tell_trackers();
  write_text(folder_ / "results.json", spell(results_, 1) + "\n");
}

void CellRun::evaluate(SharedTensors& shared, bool frozen) {
  begin_results();
  save_data();
  if (trains()) {
    evaluate_checkpoints(shared);
  } else {
    evaluate_solves(shared);
  }
  write_results(print_, frozen);
  std::error_code ignored;
  for (const char* name : {measured_name, "deaths.json"}) {
    fs::remove(folder_ / name, ignored);
  }
}

// Of a training that another process had ended, trackers have heard nothing yet.
void CellRun::tell_trackers() {
  if (!trains() || experiment_->trackers.empty()) {
    return;
  }
  const Watch watch(*experiment_, folder_);
  if (!tracked_) {
    watch.begin(Trainer::last_step(folder_, *experiment_->train).value_or(Trainer::saved_step(folder_)));
  }
  watch.end(results_["progress"]);
}

bool CellRun::is_measured(int64_t step) const {
  return std::find(measured_.begin(), measured_.end(), step) != measured_.end();
}

void CellRun::measure(SharedTensors& shared, int64_t step, bool last) {
  if (!is_measured(step)) {
    log::info("evaluating" + (cell_.name.empty() ? "" : " " + cell_.name) + " after " + std::to_string(step) +
              " steps");
    evaluate_checkpoint(shared, Trainer::checkpoint_path(folder_, step), last);
    measured_.push_back(step);
    keep_measured();
  }
}

void CellRun::evaluate_at(SharedTensors& shared, int64_t step) {
  load_measured();
  measure(shared, step, /*last=*/false);
}

namespace {
std::string stopped_print(const std::string& print, int64_t step) {
  return print + " stopped after " + std::to_string(step);
}
}  // namespace

void CellRun::stop_at(int64_t step, bool frozen) {
  const std::string fingerprint = stopped_print(print_, step);
  if (holds_results(folder_, fingerprint) || finished()) {  // a whole training stays whole
    return;
  }
  begin_results();
  results_["stopped_at"] = step;
  results_["students"] = Json::array();
  for (const Json& row : results_["progress"]) {
    if (row_from(row).train_steps == step) {
      results_["students"].push_back(row);
    }
  }
  write_results(fingerprint, frozen);
}

std::vector<Row> CellRun::measured_rows(const fs::path& folder, const std::string& print) {
  // In this order: who ends an evaluation writes the results before the other file goes.
  const Json kept = read_json(folder / measured_name);
  const Json results = read_json(folder / "results.json");
  const bool whole = text_at(results, "fingerprint") == print;
  const bool partly = text_at(kept, "fingerprint") == print;
  return rows_from(json_at(whole ? results : partly ? json_at(kept, "results") : Json(), "progress"));
}

void CellRun::evaluate_checkpoints(SharedTensors& shared) {
  const int64_t last = Trainer::last_step(folder_, *experiment_->train).value();
  std::vector<int64_t> steps = experiment_->evaluate->at;
  std::erase_if(steps, [&](int64_t step) { return step > last; });  // training ended before them
  steps.push_back(last);
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  for (const int64_t step : steps) {
    measure(shared, step, step == last);
  }
  evaluate_averages(shared, last);
}

// Averages of the lengths that are asked for, made of the training's snapshots.
void CellRun::evaluate_averages(SharedTensors& shared, int64_t last) {
  for (const double length : experiment_->evaluate->ema_lengths) {
    if (std::find(measured_averages_.begin(), measured_averages_.end(), length) == measured_averages_.end()) {
      log::info("evaluating" + (cell_.name.empty() ? "" : " " + cell_.name) + " with the average of length " +
                Value{length, {}}.text());
      evaluate_checkpoint(shared, reconstruct_average(Trainer::checkpoint_path(folder_, last), length), /*last=*/true,
                          length);
      measured_averages_.push_back(length);
      keep_measured();
    }
  }
}

void CellRun::keep_measured() const {
  write_text(
      folder_ / measured_name,
      spell({{"fingerprint", print_}, {"steps", measured_}, {"averages", measured_averages_}, {"results", results_}}) +
          "\n");
}

// The teacher's own samples, by the configured solver and grid, at each guidance weight.
void CellRun::evaluate_solves(SharedTensors& shared) {
  Experiment& e = *experiment_;
  log::info("measuring" + (cell_.name.empty() ? "" : " " + cell_.name));
  for (const double w : guidance_weights()) {
    ModelEvaluator evaluator(e, e.teacher.get(), shared, e.teacher_key(), w);
    EvaluationResult result = evaluator.measure({});
    const double each = static_cast<double>(evaluator.endpoint_evaluations()) /
                        static_cast<double>(std::max<int64_t>(result.samples.size(0), 1));
    result.measurement.values.insert(result.measurement.values.begin(), {"evaluations", each});
    add_row({.record = {}, .last = true, .ema_length = {}, .guidance = w}, result);
  }
}

std::vector<double> CellRun::guidance_weights() const {
  const std::vector<double>& asked = experiment_->evaluate->guidance;
  const bool guided = experiment_->spec().has(inputs::guidance) && !asked.empty();
  return guided ? asked : std::vector<double>{middle_guidance(*experiment_)};
}

// What an evaluation of this very configuration had measured when it was cut off.
void CellRun::load_measured() {
  results_ = {{"teacher", {{"evaluations", 0}, {columns::metrics.key, Json::object()}}},
              {"students", Json::array()},
              {"progress", Json::array()}};
  measured_.clear();
  measured_averages_.clear();
  const Json kept = read_json(folder_ / measured_name);
  if (kept.is_object() && kept.value("fingerprint", "") == print_) {
    results_ = kept.at("results");
    measured_ = kept.at("steps").get<std::vector<int64_t>>();
    measured_averages_ = kept.value("averages", std::vector<double>{});
  }
}

void CellRun::evaluate_teacher(SharedTensors& shared, double guidance) {
  ModelEvaluator evaluator(*experiment_, experiment_->teacher.get(), shared, experiment_->teacher_key(), guidance);
  const EvaluationResult result = evaluator.measure({});
  results_["teacher"] = {{"evaluations", evaluator.endpoint_evaluations()},
                         {columns::metrics.key, to_json(result.measurement)}};
  if (result.samples.defined()) {
    save_samples(result.samples, "teacher");
  }
}

void CellRun::evaluate_checkpoint(SharedTensors& shared, const fs::path& path, bool last,
                                  std::optional<double> ema_length) {
  Experiment& e = *experiment_;
  const Checkpoint checkpoint = e.checkpoint(path.string());
  const TrainingRecord record = Trainer::record(checkpoint);
  const Model model = e.model(e.backend().compile(e.network(checkpoint, path.string())));
  Point point{.record = record, .last = last, .ema_length = ema_length};
  if (samples_by_itself(e.loss->makes())) {
    const std::vector<double> weights = guidance_weights();
    if (e.teacher && e.solver && results_["progress"].empty()) {
      evaluate_teacher(shared, weights[0]);
    }
    for (const double w : weights) {
      ModelEvaluator evaluator(e, e.teacher.get(), shared, e.teacher_key(), w);
      point.guidance = w;
      for (const int64_t student_steps : e.evaluate->student_steps) {
        point.student_steps = student_steps;
        add_row(point, evaluator.measure({&model, student_steps}));
      }
    }
  } else if (e.loss->makes() == Makes::denoiser) {
    SharedTensors own;
    const ModelTeacher as_teacher(model, e.spec());
    ModelEvaluator evaluator(e, &as_teacher, own, "");
    const EvaluationResult result = evaluator.measure({});
    add_row(point, result);
    if (!ema_length) {
      results_["teacher"] = {{"evaluations", evaluator.endpoint_evaluations()},
                             {columns::metrics.key, to_json(result.measurement)}};
    }
  } else {
    ModelEvaluator evaluator(e, nullptr, shared, e.teacher_key());
    add_row(point, evaluator.measure({&model, 0}));
  }
}

void CellRun::add_row(const Point& point, const EvaluationResult& result) {
  const TrainingRecord& record = point.record;
  Row row;
  row.cell = cell_.name;
  row.loss = experiment_->loss_name();
  for (const auto& [key, value] : cell_.values.table()) {
    row.swept[key] = retort::to_json(value);
  }
  row.student_steps = point.student_steps;
  row.ema_length = point.ema_length;
  if (experiment_->spec().has(inputs::guidance)) {
    row.guidance = point.guidance;
  }
  const bool planned = !point.last || !trains() || Budget(*experiment_->train).counts_steps_alone();
  (planned ? row.train_steps : row.optimizer_steps) = record.step;
  row.teacher_evaluations = record.teacher_evaluations;
  row.remembered_evaluations = record.remembered;
  row.train_seconds = record.seconds;
  row.metrics.assign(result.measurement.values.begin(), result.measurement.values.end());
  row.series.assign(result.measurement.series.begin(), result.measurement.series.end());
  if (result.samples.defined()) {
    row.samples =
        save_samples(result.samples, "after_" + std::to_string(record.step) +
                                         (point.student_steps > 0 ? "_in_" + std::to_string(point.student_steps) : "") +
                                         (row.guidance ? "_at_" + Value{*row.guidance, {}}.text() : "") +
                                         (row.ema_length ? "_ema_" + Value{*row.ema_length, {}}.text() : ""));
  }
  results_["progress"].push_back(retort::to_json(row));
  if (point.last) {
    results_["students"].push_back(retort::to_json(row));
  }
}

}  // namespace retort
