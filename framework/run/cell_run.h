/// One cell of a run: trained, sampled, measured, in a folder of its own.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "config/experiment.h"
#include "evaluate/evaluator.h"
#include "io/json.h"
#include "share/store.h"
#include "sweep/cells.h"

namespace retort {

class CellRun {
 public:
  /// Builds all parts, so that errors of the configuration come before any work.
  CellRun(const Cell& cell, const std::string& default_name, std::filesystem::path folder, const Registry& registry,
          const Store& store);

  Experiment& experiment() const { return *experiment_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// Whether the folder holds the results of this very configuration, by these very plugins.
  bool finished() const;
  bool trained() const;

  /// Readies the folder: what another configuration left is moved aside, unless its training is the same. With `fresh`
  /// all of it is.
  void prepare(bool fresh, bool frozen);
  /// Trains, going on from a saved state. `memory` remembers the teacher's solves, for cells that share them.
  void train(std::shared_ptr<SolveMemory> memory);
  /// Measures the checkpoints and writes results.json and samples/.
  void evaluate(SharedTensors& shared, bool frozen);

 private:
  void save_data() const;
  void evaluate_teacher(SharedTensors& shared, double guidance);
  void evaluate_checkpoint(SharedTensors& shared, int64_t step);
  void add_row(const struct TrainingRecord& record, int64_t student_steps, const EvaluationResult& result,
               double guidance);
  std::string save_samples(const Tensor& samples, const std::string& name) const;

  Cell cell_;
  std::filesystem::path folder_;
  std::unique_ptr<Experiment> experiment_;
  std::string training_print_, print_;  // SHA-256 of what training, and all results, depend on
  Json results_;
};

/// Keeps what stood in the folder if it belongs to another configuration: "runs/a" becomes "runs/a~1".
void set_aside(const std::filesystem::path& folder);

/// Trains the models of configurations that are named in place of checkpoints, once for all runs.
ModelMaker model_maker(const Registry& registry, const Store& store);

}  // namespace retort
