/// Where the time of a training step and of sampling goes, on this machine.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "config/experiment.h"
#include "io/json.h"
#include "train/adapter.h"
#include "train/optimizer.h"
#include "train/roles.h"
#include "train/weights.h"

namespace retort {

/// A part of the work that can be done again and again.
struct Stage {
  std::string name;
  int64_t rows;        // network evaluations that it stands for; 0: no evaluations
  double evaluations;  // in units of a forward pass: a backward pass counts as two
  std::function<void()> work;
  std::vector<double> seconds;
};

/// What one training step takes of one batch.
struct TrainingCost {
  double seconds = 0;
  double evaluations = 0;  // of the teacher
};

/// One batch of an experiment, with all that a training step needs, taken apart into stages.
class Workbench {
 public:
  explicit Workbench(Experiment& experiment);
  Workbench(const Workbench&) = delete;
  Workbench& operator=(const Workbench&) = delete;

  std::vector<Stage> stages;
  Batch data;
  Tensor x;          // the batch, noised to times t
  Tensor t, s;       // of the grid, where the experiment distils
  Tensor intervals;  // in which t lies
  Tensor grid;

  /// The mean of a few steps, after one that is not counted; of so many seconds, or three steps at least.
  TrainingCost training_cost(double enough = 0.5);
  /// GFLOP of one row's way through the student.
  double gflop_of_row() const;

 private:
  void add_stages();
  void train();
  void update_student();

  Experiment& e_;
  std::shared_ptr<Network> network_;
  Weights weights_;
  std::optional<Adapter> adapter_;
  Weights trained_;  // the adapter's factors, or the weights
  Optimizer optimizer_;
  RoleSet roles_;
  std::optional<Model> student_, target_;
  std::optional<Ode> ode_;
  int64_t step_ = 0;
};

struct BenchRequest {
  int64_t rounds = 10;
  std::vector<std::string> stages;  // how the names of those begin that are wanted; empty: all
};

/// Times stages in turn (A B C A B C …), after one round that is not counted but of stages that take over ten seconds:
/// these are warm by then. Returns
///   { "machine": …, "backend": …, "batch": B, "gemm_gflops": …, "network_gflop": … (of one row),
///     "stages": [{ "name", "median", "low", "high" (seconds, and quartiles), "rows", "share_of_gemm" }],
///     "training_seconds": … (of all steps, where a step was timed), "steps": …, "peak_memory_bytes": …,
///     "teacher_evaluations": { "packed", "unpacked" } (of one training step, for losses that solve) }
/// Throws RequestError for a stage that there is not.
Json bench(Experiment& experiment, const BenchRequest& request);

}  // namespace retort
