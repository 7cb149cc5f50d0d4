/// One cell of a run: trained, sampled, measured, in a folder of its own.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "config/experiment.h"
#include "evaluate/evaluator.h"
#include "io/json.h"
#include "results/row.h"
#include "share/store.h"
#include "sweep/cells.h"

namespace retort {

/// Whether models that a configuration names in place of checkpoints are trained where they are not there yet.
enum class Models { train, find };

class CellRun {
 public:
  /// Builds all parts, but those that `memo` holds, so that errors of the configuration come before any work.
  CellRun(const Cell& cell, const std::string& default_name, std::filesystem::path folder, const Registry& registry,
          const Store& store, Models models, PartsMemo* memo = nullptr);

  Experiment& experiment() const { return *experiment_; }
  /// Without a loss nothing is trained: the teacher, its solver and its grid are what is measured.
  bool trains() const { return experiment_->loss != nullptr; }
  const std::filesystem::path& folder() const { return folder_; }
  /// Whether the folder holds the results of this very configuration, by these very plugins; and whether a folder holds
  /// those of a cell with this print().
  bool finished() const { return holds_results(folder_, print_); }
  static bool holds_results(const std::filesystem::path& folder, const std::string& print);
  /// Whether weights are there of the last step, and of all others that are to be evaluated.
  bool trained() const;
  /// Throws RequestError, which says what differs, where the folder does not hold this very training, finished.
  void require_trained() const;

  /// SHA-256 of what training, and of what all results depend on.
  const std::string& training_print() const { return training_print_; }
  const std::string& print() const { return print_; }

  /// Readies the folder: what another configuration left is moved aside, unless its training is the same. With `fresh`
  /// all of it is.
  void prepare(bool fresh, bool frozen);
  /// To be called before the work, with whether an earlier worker died at it. Deaths count where nothing was got done
  /// between them: a worker that is killed now and then, but gets on, goes on for ever. Throws Error at the third in a
  /// row.
  void count_death(bool died);
  /// Evaluates the untrained student on two samples, so that what cannot be evaluated is found before any work. Throws
  /// RequestError.
  void try_evaluation();
  /// Equal for cells whose trials would be the same.
  std::string trial_key() const;
  /// Trains, going on from a saved state. `memory` remembers the teacher's solves, for cells that share them. With
  /// `until`, one of evaluate.at, it stops there.
  void train(std::shared_ptr<SolveMemory> memory, std::optional<int64_t> until = {});
  /// Measures the checkpoints and writes results.json and samples/. What was measured of a checkpoint is kept at once,
  /// so that an evaluation that is killed goes on with the next.
  void evaluate(SharedTensors& shared, bool frozen);
  /// Measures one of evaluate.at alone, while training may go on from it.
  void evaluate_at(SharedTensors& shared, int64_t step);
  /// Writes what was measured up to a step as the results of a training that a search has stopped there.
  void stop_at(int64_t step, bool frozen);
  /// Of an evaluation under way.
  static constexpr const char* measured_name = "measured.json";
  /// What was measured of a cell with this print() in a folder, in full, or so far; empty where there is nothing.
  static std::vector<Row> measured_rows(const std::filesystem::path& folder, const std::string& print);

 private:
  void begin_results();
  void write_results(const std::string& fingerprint, bool frozen);
  bool is_measured(int64_t step) const;
  void measure(SharedTensors& shared, int64_t step, bool last);

  void save_data() const;
  void evaluate_teacher(SharedTensors& shared, double guidance);
  void evaluate_solves(SharedTensors& shared);
  void evaluate_checkpoints(SharedTensors& shared);
  void tell_trackers();
  std::vector<double> guidance_weights() const;
  void evaluate_averages(SharedTensors& shared, int64_t last);
  void keep_measured() const;
  // What a row is of, beside the training: whose weights, and how they are sampled.
  struct Point {
    const struct TrainingRecord& record;
    bool last;                         // of the training
    std::optional<double> ema_length;  // of an average that was made after it
    int64_t student_steps = 0;
    double guidance = 1;
  };
  void evaluate_checkpoint(SharedTensors& shared, const std::filesystem::path& path, bool last,
                           std::optional<double> ema_length = {});
  void add_row(const Point& point, const EvaluationResult& result);
  std::string progress() const;
  bool is_same_training() const;
  std::string passed_point() const;
  std::string difference() const;
  void say_threads() const;
  void load_measured();
  std::string save_samples(const Tensor& samples, const std::string& name, const Dataset* data = nullptr) const;

  Cell cell_;
  std::filesystem::path folder_;
  std::unique_ptr<Experiment> experiment_;
  bool tracked_ = false;                // whether this process has told the trackers of the training
  std::string training_print_, print_;  // SHA-256 of what training, and all results, depend on
  Json results_;
  std::vector<int64_t> measured_;          // training steps whose rows are in results_
  std::vector<double> measured_averages_;  // and lengths of averages
};

/// Keeps what stood in the folder if it belongs to another configuration: "runs/a" becomes "runs/a~1".
void set_aside(const std::filesystem::path& folder, const std::string& why);

/// Thrown where a model is wanted that is not trained yet, by commands that train nothing.
class NotTrained : public RequestError {
 public:
  using RequestError::RequestError;
};

/// Trains the models of configurations that are named in place of checkpoints, once for all runs; or only finds them.
ModelMaker model_maker(const Registry& registry, const Store& store, Models models);

}  // namespace retort
