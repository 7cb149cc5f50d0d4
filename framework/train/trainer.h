/// The training loop: batches, loss, optimizer, moving averages, saved states.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "config/experiment.h"
#include "train/adapter.h"
#include "train/averages.h"
#include "train/batches.h"
#include "train/budget.h"
#include "train/group.h"
#include "train/loss_scale.h"
#include "train/optimizer.h"
#include "train/roles.h"
#include "train/weights.h"
#include "track/watch.h"

namespace retort {

class Trainer {
 public:
  /// Begins anew, or from the state in `folder` if there is one. `memory`, if any, remembers the teacher's solves.
  Trainer(Experiment& experiment, std::filesystem::path folder, std::shared_ptr<SolveMemory> memory = nullptr);

  /// Trains until the budget is spent. After each step of evaluate.at and the last one, weights for evaluation are
  /// saved. With `until` it ends there, with a state to go on from.
  void run(std::optional<int64_t> until = {});

  /// Where the weights of a step are saved.
  static std::filesystem::path checkpoint_path(const std::filesystem::path& folder, int64_t step);
  /// The step of the state that is saved in a folder; 0 where there is none.
  static int64_t saved_step(const std::filesystem::path& folder);
  /// The step after which training in a folder ended, whose weights are there; nothing where it has not ended.
  static std::optional<int64_t> last_step(const std::filesystem::path& folder, const TrainSettings& settings);
  /// What is recorded in a saved checkpoint.
  static TrainingRecord record(const Checkpoint& checkpoint);

 private:
  TrainingStep step_of(const Batch& batch, const Ode* ode, int64_t index) const;
  double share_gradients(double loss);
  int64_t stage() const { return budget_.stage(record_, experiment_.loss->stages()); }
  void begin_stage();
  void check_loss(const LossValue& value, const TrainingStep& step) const;
  Tensor mean_of(const Tensor& per_row) const;
  double backward(const LossValue& value);
  void note(const std::string& name, const Tensor& number, int64_t count = 1);
  void note_by_time(const LossValue& value);
  void make_models();
  void train_step(const Ode* ode);
  void take_optimizer_steps();
  void save_where_sound();
  double read_losses();
  std::string not_finite() const;
  std::string interrupted() const;
  void save_state() const;
  void save_weights() const;
  bool ends_part(int64_t part) const;
  void restore_state();
  void begin_log();
  void count_seconds(double seconds);
  void log(double loss, double norm);

  Experiment& experiment_;
  std::filesystem::path folder_;
  std::shared_ptr<Network> network_;
  std::optional<Model> student_, frozen_student_;  // around the network; made at the first step
  std::shared_ptr<SolveMemory> memory_;
  Weights weights_;
  std::optional<Adapter> adapter_;
  Weights trained_;              // the adapter's factors, or the weights
  std::vector<Tensor> buffers_;  // as they were before the step, where it has several parts
  Optimizer optimizer_;
  std::unique_ptr<RoleSet> roles_;
  std::optional<Batches> batches_;
  std::vector<Tensor> average_;  // of what is trained
  PowerAverages averages_;       // of the same, in other lengths
  TrainingRecord record_;
  Budget budget_;
  int64_t stage_ = -1, stage_begin_ = 0;  // the stage that was begun, and with which step
  std::optional<Watch> watch_;            // in the first process alone
  std::vector<std::string> bin_names_;    // of the parts of the time's range whose loss is logged apart
  LossScale loss_scale_;
  Tensor gradient_norm_;  // of the last step
  double rate_ = 0;       // learning rate of the last step
  Group& group_;
  int64_t first_row_, rows_;                  // this process's share of each batch
  bool stop_ = false;                         // whether any of the processes was asked to stop
  int64_t evaluations_ = 0, remembered_ = 0;  // of the last step
  // Losses that have not been read from the device yet, with the times of their rows.
  struct Unread {
    int64_t step;
    Tensor loss;
    Tensor per_row, t;
  };
  std::vector<Unread> unread_;
  double loss_sum_ = 0;  // since the last line of the log
  int64_t loss_count_ = 0;
  int64_t student_steps_ = 0;    // that its optimizer has taken in this stage
  bool student_is_due_ = false;  // whether the step trains it
  // What the loss wants to be looked at, and the losses of its other networks, since the last line.
  struct Noted {
    Tensor sum;
    int64_t count = 0;
  };
  std::map<std::string, Noted> noted_;
};

}  // namespace retort
