#include "run/run.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <cstdio>

#include "config/toml.h"
#include "evaluate/evaluator.h"
#include "io/files.h"
#include "io/png.h"
#include "io/safetensors.h"
#include "log.h"
#include "report/report.h"
#include "run/provenance.h"
#include "train/trainer.h"

namespace retort {

namespace fs = std::filesystem;

namespace {

// Keeps what stood in the folder if it belongs to another configuration: "runs/a" becomes "runs/a~1".
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

std::string joined_config(const std::vector<Cell>& cells, const std::vector<std::unique_ptr<Experiment>>& experiments,
                          const fs::path& folder) {
  if (cells.size() == 1 && cells[0].name.empty()) {
    return write_toml(experiments[0]->resolved_for(folder));
  }
  Value config = experiments[0]->resolved_for(folder);
  Value sweep;
  for (const auto& [key, value] : cells[0].values.table()) {
    Array values;
    for (const Cell& cell : cells) {
      const Value& v = *cell.values.find(key);
      if (std::find(values.begin(), values.end(), v) == values.end()) {
        values.push_back(v);
      }
    }
    sweep[key] = Value{values, {}};
    if (key.ends_with(".type")) {
      // Each plugin's keys in a table of its own, as they differ: [loss.cm], [loss.direct_cm], …
      const std::string table = key.substr(0, key.size() - 5);
      Value joined;
      joined["type"] = values.front();
      for (const auto& experiment : experiments) {
        Value own = *at_path(experiment->resolved_for(folder), table);
        const std::string type = std::get<std::string>(own.find("type")->data);
        own.erase("type");
        joined[type] = own;
      }
      set_path(config, table, joined);
    }
  }
  config["sweep"] = sweep;
  return write_toml(config);
}

// Pictures as a PNG grid, points as CSV, in the run's samples folder.
void save_samples(const Experiment& experiment, const Tensor& samples, const fs::path& folder,
                  const std::string& name) {
  make_folder(folder / "samples");
  const int64_t shown = std::min(experiment.evaluate->pictures, samples.size(0));
  const Tensor pictures =
      experiment.dataset && shown > 0 ? experiment.dataset->pictures(samples.narrow(0, 0, shown)) : Tensor();
  if (pictures.defined()) {
    write_text(folder / "samples" / (name + ".png"), encode_png(picture_grid(pictures, std::min<int64_t>(shown, 16))));
  } else if (samples.dim() == 2) {
    constexpr int64_t most = 2000;
    write_samples(folder / "samples" / (name + ".csv"),
                  samples.narrow(0, 0, std::min(most, samples.size(0))).to(at::kFloat));
  }
}

Json series_json(const Measurement& m) {
  Json out = Json::object();
  for (const auto& [name, points] : m.series) {
    out[name] = points;
  }
  return out;
}

class Run {
 public:
  Run(const RunRequest& request, Registry& registry) : request_(request), config_(load_config(request)) {
    cells_ = expand(config_);
    output_ = output_folder(config_, request);
    if (request.frozen) {
      freeze(registry, request.config, output_);
    }
    for (const Cell& cell : cells_) {
      experiments_.push_back(
          std::make_unique<Experiment>(cell.config, fs::path(request.config).stem().string(), registry));
      if (!experiments_.back()->loss) {
        throw RequestError(to_string(config_.origin) + ": [loss] is missing; there is nothing to train");
      }
    }
    prepare_folder();
  }

  void train() {
    for (size_t i = 0; i < cells_.size(); ++i) {
      const fs::path folder = cell_folder(output_, cells_[i]);
      const Experiment& experiment = *experiments_[i];
      if (fs::exists(Trainer::checkpoint_path(folder, experiment.train->steps))) {
        continue;
      }
      log::info("training" + (cells_[i].name.empty() ? "" : " " + cells_[i].name) + ": " +
                std::to_string(experiment.train->steps) + " steps of " +
                std::to_string(experiment.train->batch * experiment.train->accumulate) + " on " +
                experiment.training_backend().describe());
      if (!cells_[i].name.empty()) {
        make_folder(folder);
        write_text(folder / "config.toml", write_toml(experiment.resolved_for(folder)));
      }
      Trainer(*experiments_[i], folder).run();
    }
  }

  void evaluate() {
    results_["name"] = experiments_[0]->run->name;
    Json config = retort::to_json(experiments_[0]->resolved());
    if (!cells_[0].name.empty()) {
      config["sweep"] = retort::to_json(*config_.find("sweep"));
    }
    results_["config"] = config;
    results_["versions"] = {
        {"retort", RETORT_VERSION},
        {"libtorch", std::to_string(TORCH_VERSION_MAJOR) + "." + std::to_string(TORCH_VERSION_MINOR) + "." +
                         std::to_string(TORCH_VERSION_PATCH)},
        {"backend", experiments_[0]->backend().describe()}};
    results_["teacher"] = {{"evaluations", 0}, {"metrics", Json::object()}};
    results_["students"] = Json::array();
    results_["progress"] = Json::array();
    save_reference();
    for (size_t i = 0; i < cells_.size(); ++i) {
      evaluate_cell(cells_[i], *experiments_[i]);
    }
    const Json provenance = write_provenance(output_, request_.frozen);
    results_["plugins"] = provenance["plugins"];
    results_["libraries"] = provenance["libraries"];
    write_text(output_ / "results.json", results_.dump(1) + "\n");
  }

  const fs::path& output() const { return output_; }
  bool complete() const { return complete_; }

 private:
  void prepare_folder() {
    const std::string text = joined_config(cells_, experiments_, output_);
    if (fs::exists(output_ / "config.toml")) {
      const bool same = read_text(output_ / "config.toml") == text;
      if (!same || request_.fresh) {
        set_aside(output_);
      } else {
        complete_ = fs::exists(output_ / "results.json") && fs::exists(output_ / "report.html");
      }
    }
    make_folder(output_);
    write_text(output_ / "config.toml", text);
    write_provenance(output_, request_.frozen);
  }

  void save_reference() {
    Experiment& experiment = *experiments_[0];
    if (experiment.dataset && experiment.loss->objective() != Objective::classifier) {
      // Real samples of the same classes as the generated ones beside them.
      const int64_t wanted =
          std::max<int64_t>(experiment.evaluate->pictures, experiment.task().shape.size() == 1 ? 2000 : 0);
      const int64_t size = experiment.dataset->size(Split::test);
      Batch data = experiment.dataset->batch(
          Split::test, at::arange(std::min<int64_t>(size, std::max<int64_t>(wanted, 1000)), at::kLong));
      Tensor x = data.x;
      if (experiment.classes() > 0 && data.condition.labels.defined()) {
        x = by_class(data, experiment.classes(), wanted);
      }
      save_samples(experiment, x, output_, "data");
    }
  }

  static Tensor by_class(const Batch& data, int64_t classes, int64_t wanted) {
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

  // The teacher's own row, once for all cells that share it.
  void evaluate_teacher(ModelEvaluator& evaluator, const Experiment& experiment, const std::string& key) {
    if (std::find(teachers_done_.begin(), teachers_done_.end(), key) != teachers_done_.end()) {
      return;
    }
    teachers_done_.push_back(key);
    const EvaluationResult result = evaluator.measure({});
    if (teachers_done_.size() == 1) {
      results_["teacher"] = {{"evaluations", evaluator.endpoint_evaluations()},
                             {"metrics", to_json(result.measurement)}};
      save_samples(experiment, result.samples, output_, "teacher");
    }
  }

  void evaluate_cell(const Cell& cell, Experiment& experiment) {
    const fs::path folder = cell_folder(output_, cell);
    const std::string key = experiment.teacher_key();
    std::vector<int64_t> steps = experiment.evaluate->at;
    steps.push_back(experiment.train->steps);
    std::sort(steps.begin(), steps.end());
    steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
    std::unique_ptr<ModelEvaluator> of_teacher;
    if (experiment.teacher && experiment.loss->objective() == Objective::consistency) {
      of_teacher = std::make_unique<ModelEvaluator>(experiment, experiment.teacher.get(), shared_, key);
      evaluate_teacher(*of_teacher, experiment, key);
    }
    for (const int64_t step : steps) {
      const fs::path path = Trainer::checkpoint_path(folder, step);
      const Checkpoint checkpoint = experiment.checkpoint(path.string());
      const TrainingRecord record = Trainer::record(checkpoint);
      const Model model = experiment.model(experiment.backend().compile(experiment.network(checkpoint, path.string())));
      log::info("evaluating" + (cell.name.empty() ? "" : " " + cell.name) + " after " + std::to_string(step) +
                " steps");
      if (of_teacher) {
        for (const int64_t student_steps : experiment.evaluate->student_steps) {
          add_row(cell, experiment, record, student_steps, of_teacher->measure({&model, student_steps}));
        }
      } else if (experiment.loss->objective() == Objective::denoiser) {
        const ModelTeacher as_teacher(model, experiment.task().shape, experiment.classes());
        ModelEvaluator evaluator(experiment, &as_teacher, shared_, key + folder.string() + std::to_string(step));
        const EvaluationResult result = evaluator.measure({});
        add_row(cell, experiment, record, 0, result);
        results_["teacher"] = {{"evaluations", evaluator.endpoint_evaluations()},
                               {"metrics", to_json(result.measurement)}};
      } else {
        ModelEvaluator evaluator(experiment, nullptr, shared_, key);
        add_row(cell, experiment, record, 0, evaluator.measure({&model, 0}));
      }
    }
  }

  void add_row(const Cell& cell, const Experiment& experiment, const TrainingRecord& record, int64_t student_steps,
               const EvaluationResult& result) {
    Json row;
    row["cell"] = cell.name;
    row["loss"] = std::get<std::string>(experiment.resolved().find("loss")->find("type")->data);
    for (const auto& [key, value] : cell.values.table()) {
      row["swept"][key] = retort::to_json(value);
    }
    row["student_steps"] = student_steps;
    row["train_steps"] = record.step;
    row["teacher_evaluations"] = record.teacher_evaluations;
    row["train_seconds"] = record.seconds;
    row["metrics"] = to_json(result.measurement);
    row["series"] = series_json(result.measurement);
    if (result.samples.defined()) {
      const std::string name = (cell.name.empty() ? "model" : cell.name) + "_after_" + std::to_string(record.step) +
                               (student_steps > 0 ? "_in_" + std::to_string(student_steps) : "");
      save_samples(experiment, result.samples, output_, name);
      row["samples"] = name;
    }
    results_["progress"].push_back(row);
    if (record.step == experiment.train->steps) {
      results_["students"].push_back(row);
    }
  }

  RunRequest request_;
  Value config_;  // as written and overridden, before its cells
  std::vector<Cell> cells_;
  std::vector<std::unique_ptr<Experiment>> experiments_;
  fs::path output_;
  bool complete_ = false;
  SharedTensors shared_;
  std::vector<std::string> teachers_done_;
  Json results_ = Json::object();
};

}  // namespace

fs::path run(const RunRequest& request, Registry& registry, Stages stages) {
  Run all(request, registry);
  if (stages == Stages::everything && all.complete()) {
    log::info("these results are complete; --fresh runs it again");
  } else {
    if (stages != Stages::evaluate) {
      all.train();
    }
    if (stages == Stages::train) {
      return all.output();
    }
    all.evaluate();
    write_report(all.output());
  }
  std::fputs(terminal_table(all.output()).c_str(), stdout);
  std::printf("\n%s\n", (all.output() / "report.html").c_str());
  return all.output();
}

}  // namespace retort
