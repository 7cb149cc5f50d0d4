/// The probability-flow ODE of a teacher, bound to the conditions of a batch. It is what solvers see.
#pragma once

#include <atomic>
#include <memory>

#include "retort/teacher.h"

namespace retort {

/// dx/dt = alpha'(t) D(x, t) + sigma'(t) eps(x, t); equally dy/ds = eps with y = x / alpha, s = sigma / alpha
/// (Karras et al. 2022, eq. 4). No gradients flow through it.
class RETORT_API Ode {
 public:
  /// `teacher` outlives the ODE. Copies and slices share one count of evaluations.
  explicit Ode(const Teacher& teacher, Condition condition = {});

  const Process& process() const;

  /// Teacher's clean data D, noise eps, and velocity dx/dt at x: [B, …], t: [B].
  Tensor data(const Tensor& x, const Tensor& t) const;
  Tensor noise(const Tensor& x, const Tensor& t) const;
  Tensor velocity(const Tensor& x, const Tensor& t) const;
  /// Both from a single evaluation.
  struct Prediction {
    Tensor data;
    Tensor noise;
  };
  Prediction predict(const Tensor& x, const Tensor& t) const;

  /// The same ODE for some of the rows, or the first ones.
  Ode rows(const Tensor& index) const;
  Ode first(int64_t count) const;
  /// The same teacher and counter for other conditions.
  Ode with(Condition condition) const;

  /// Teacher evaluations so far: one per row, two under classifier-free guidance.
  int64_t evaluations() const { return *count_; }

 private:
  Tensor output(const Tensor& x, const Tensor& t) const;

  const Teacher* teacher_;
  Condition condition_;
  std::shared_ptr<std::atomic<int64_t>> count_;
};

}  // namespace retort
