/// A training objective: what it needs, what it makes, the networks that it keeps, and its value at a step.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "retort/distance.h"
#include "retort/model.h"
#include "retort/schedule.h"
#include "retort/solver.h"

namespace retort {

/// What a loss cannot do without, beside data. What is lacking is refused before any work.
struct Needs {
  bool teacher = false;
  bool solver = false;
  bool schedule = false;
  /// A network that is given `inputs::end_time`: a flow map's second time.
  bool end_time = false;
  /// The one thing that the student may predict.
  std::optional<Predicts> predicts = {};
  /// How many samples' worth of numbers the student's network is to give (`ModelSpec::outputs`).
  int64_t outputs = 1;
};

/// A network that a loss keeps beside the student. The host builds it, shares it over processes, saves it with the
/// state, and goes on from there to the bit.
struct Role {
  /// student: as the student begins; teacher: as the teacher's network; own: `network`
  enum class Start { student, teacher, own };
  /// trained: by its own value in `LossValue::roles`; average: a moving average of the student; stage: what the student
  /// was when the stage began (`Loss::stages`)
  enum class Update { trained, average, stage };

  std::string name;
  Start start = Start::student;
  Update update = Update::trained;
  std::shared_ptr<Network> network = nullptr;
  double decay = 0;          // average: per step
  int64_t every = 1;         // trained: at the steps that are multiples of this, counted from 0
  double learning_rate = 0;  // trained: 0: the student's
};

/// The role "target": a moving average of the student, with that decay per step.
inline Role target_average(double decay) { return {.name = "target", .update = Role::Update::average, .decay = decay}; }

/// A role as a step sees it.
struct RoleModel {
  std::string name;
  const Model* model;  // differentiable where the role is trained
  bool due;            // whether its value is wanted at this step
};

/// Pure noise, and where the teacher's ODE leads from it.
struct NoiseDataPair {
  Tensor noise;  // [B, …], states at the schedule's first time
  Tensor data;   // [B, …], at its last time; without gradients
  Tensor t;      // [B] float64, the first time
};

/// Everything that one training step may look at.
struct TrainingStep {
  Batch batch;                         // clean data
  const Model& student;                // differentiable
  const Model& target;                 // without gradients: the role "target", or the student itself
  const Ode* ode = nullptr;            // bound to the batch's conditions; null where there is no teacher
  const Solver* solver = nullptr;      // null where none is configured
  const Schedule* schedule = nullptr;  // null where none is configured
  const Process& process;
  at::Generator generator;            // of this step alone: losses that draw in the same order see the same numbers
  double progress = 0;                // 0 at the first step, towards 1 at the last
  ModelSpec spec = {};                // of the student: the sample's shape, its network's inputs and outputs
  int64_t index = 0;                  // of the step, counted from 0
  int64_t stage = 0;                  // 0 … Loss::stages() - 1
  std::vector<RoleModel> roles = {};  // the student's rhythm among them, where the loss says any
  // In data-parallel training, where this process's rows begin within the whole batch, and how many that has.
  int64_t first_row = 0;
  int64_t all_rows = 0;  // 0: the batch is whole
  /// Numbers that are brought along in place of drawn ones, to hold a loss against another's: asked for "noise",
  /// "uniform" or "normal" in the order in which the loss draws.
  std::function<Tensor(std::string_view kind)> brought = {};

  /// Random numbers are drawn for the whole batch, so that they do not depend on how many processes share it.
  int64_t whole_rows() const { return all_rows > 0 ? all_rows : batch.x.size(0); }
  /// This process's rows of what was drawn for the whole batch.
  RETORT_API Tensor part(const Tensor& whole) const;
  /// Standard normal noise like batch.x.
  RETORT_API Tensor noise() const;
  /// [B] float64, uniform in [0, 1), or standard normal.
  RETORT_API Tensor uniform() const;
  RETORT_API Tensor normal() const;
  /// Indices [B] int64 of the intervals to train on, of `count`, as the schedule draws them.
  RETORT_API Tensor intervals(int64_t count) const;
  /// Fresh noise solved to the end, under the batch's conditions; for losses that need teacher, solver and schedule.
  RETORT_API NoiseDataPair pair() const;

  /// The model of a role that the loss has named. Throws Error for any other name.
  RETORT_API const Model& role(std::string_view name) const;
  /// Whether the student's value, or that of a role, is wanted at this step.
  RETORT_API bool due(std::string_view name) const;
};

struct LossValue {
  Tensor per_row;  // [B], differentiable; the host takes its mean. Undefined where the student is not due
  Tensor t;        // [B] float64: the times trained on, or undefined
  /// [B] of each other role that is due. A value trains its own role alone, whatever it is computed from.
  std::map<std::string, Tensor> roles = {};
  /// Numbers to be looked at: they go to metrics.jsonl under these names, averaged between lines.
  std::map<std::string, Tensor> diagnostics = {};
};

class RETORT_API Loss {
 public:
  static constexpr const char* kind = "loss";
  using Interface = Loss;
  virtual ~Loss();

  virtual LossValue operator()(const TrainingStep& step) const = 0;
  virtual Makes makes() const = 0;
  /// Nothing but data by default.
  virtual Needs needs() const;
  /// The networks beside the student; none by default. One that is called "target" is `TrainingStep::target`; one that
  /// is called "student" is no network, and says by `every` when the student is due.
  virtual std::vector<Role> roles() const;
  /// Parts of equal length into which training is cut; 1 by default. When a stage begins, roles of Update::stage take
  /// over the student's weights, and the student's optimizer and moving average begin anew.
  virtual int64_t stages() const;
  /// Throws an Error where a training on the schedule's times [n + 1] cannot be. The host asks before the work.
  virtual void check_times(const Tensor& times) const;
};

}  // namespace retort
