/// The probability-flow ODE of a teacher, bound to the conditions of a batch. It is what solvers see.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "retort/teacher.h"

namespace retort {

class Solver;

/// Remembers solves, so that runs that need the same one need it once. The host's; it is bound to one teacher and
/// solver.
class RETORT_API SolveMemory {
 public:
  virtual ~SolveMemory();
  struct Solve {
    Tensor grid, x, start;  // as `solve` was given them
    Conditioning condition;
    bool trajectory;  // whether every state of the way is wanted, or the ends alone
  };
  struct Result {
    Tensor states;        // [B, …] the ends, or [N, B, …] the states after each interval
    int64_t evaluations;  // what they cost
  };
  virtual std::optional<Result> recall(const Solve& solve) = 0;
  virtual void keep(const Solve& solve, const Result& result) = 0;
};

/// dx/dt = alpha'(t) D(x, t) + sigma'(t) eps(x, t); equally dy/ds = eps with y = x / alpha, s = sigma / alpha
/// (Karras et al. 2022, eq. 4). No gradients flow through it.
class RETORT_API Ode {
 public:
  /// `teacher` outlives the ODE. Copies and slices share one count of evaluations.
  explicit Ode(const Teacher& teacher, Conditioning condition = {});

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
  Ode with(Conditioning condition) const;

  const Conditioning& condition() const { return condition_; }

  /// Teacher evaluations so far: one per row, two under classifier-free guidance. Solves that were remembered count as
  /// if they had been done.
  int64_t evaluations() const { return *count_; }
  /// How many of those were remembered.
  int64_t remembered() const { return *remembered_; }

  /// The same ODE, whose solves by `solver` are remembered.
  Ode with(std::shared_ptr<SolveMemory> memory, const Solver* solver) const;
  /// The memory for solves by that solver, or null.
  SolveMemory* memory(const Solver& solver) const { return &solver == solver_ ? memory_.get() : nullptr; }
  void count_remembered(int64_t evaluations) const;

 private:
  Tensor output(const Tensor& x, const Tensor& t) const;

  const Teacher* teacher_;
  Conditioning condition_;
  std::shared_ptr<std::atomic<int64_t>> count_, remembered_;
  std::shared_ptr<SolveMemory> memory_;
  const Solver* solver_ = nullptr;  // the one whose solves are remembered
};

}  // namespace retort
