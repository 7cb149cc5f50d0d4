/// A training objective.
#pragma once

#include "retort/distance.h"
#include "retort/model.h"
#include "retort/schedule.h"
#include "retort/solver.h"

namespace retort {

/// Everything that one training step may look at.
struct TrainingStep {
  Batch batch;               // clean data
  const Model& student;      // differentiable
  const Model& target;       // without gradients: the student itself, or its moving average
  const Ode* ode;            // bound to the batch's conditions; null where there is no teacher
  const Solver* solver;      // null where there is no teacher
  const Schedule* schedule;  // null where none is configured
  const Process& process;
  at::Generator generator;  // of this step alone: losses that draw in the same order see the same numbers
  double progress;          // 0 at the first step, towards 1 at the last
  const ModelSpec& spec;    // of the student: the sample's shape, and the inputs of its network
  // In data-parallel training, where this process's rows begin within the whole batch, and how many that has.
  int64_t first_row = 0;
  int64_t all_rows = 0;  // 0: the batch is whole

  /// Random numbers are drawn for the whole batch, so that they do not depend on how many processes share it.
  int64_t whole_rows() const { return all_rows > 0 ? all_rows : batch.x.size(0); }
  /// This process's rows of what was drawn for the whole batch.
  RETORT_API Tensor part(const Tensor& whole) const;
  /// Standard normal noise like batch.x.
  RETORT_API Tensor noise() const;
  /// Indices [B] int64 of the intervals to train on, of `count`, as the schedule draws them.
  RETORT_API Tensor intervals(int64_t count) const;
};

struct LossValue {
  Tensor per_row;  // [B], differentiable; the host takes its mean
  Tensor t;        // [B] float64: the times trained on, or undefined
};

/// What the trained network is good for afterwards, and so how the host evaluates it.
enum class Objective { denoiser, consistency, classifier };

class RETORT_API Loss {
 public:
  static constexpr const char* kind = "loss";
  using Interface = Loss;
  virtual ~Loss();

  virtual LossValue operator()(const TrainingStep& step) const = 0;
  virtual Objective objective() const = 0;
  /// Decay per step of the moving average that serves as target; 0: the student itself, gradients stopped.
  virtual double target_decay() const;
};

}  // namespace retort
