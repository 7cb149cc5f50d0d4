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
  int64_t classes;          // of the data set; also the label that means "no class"
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
