/// One step along the ODE, and the solve over a whole grid.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>

#include "retort/noise.h"
#include "retort/ode.h"
#include "retort/times.h"

namespace retort {

/// What a solver keeps between steps, by name and row by row, so that rows can join a batch later than others.
struct RETORT_API History {
  Tensor steps;                         // [B] int64: how many steps each row has behind it
  std::map<std::string, Tensor> state;  // [B, …] each: whatever the solver keeps

  /// The slot of that name; undefined before something was put into it.
  Tensor& operator[](const std::string& name) { return state[name]; }
  /// What the step before has left in a slot; for rows without it, `compute(index)`, index: [b] int64. The slot is
  /// empty afterwards. So a step can hand the next one an evaluation.
  Tensor take(const std::string& name, const std::function<Tensor(const Tensor& index)>& compute);
  /// Makes room for rows that join behind those already there.
  void grow(int64_t count);
};

/// What one step is given.
struct Step {
  const Ode& ode;
  Times from, to;  // of each row; to < from
  History& history;
  const Noise& noise;
  int64_t remaining = 1;  // intervals to the end of the grid, this one counted
  Tensor grid = {};       // [N + 1] float64, all times of the grid; undefined where a step stands alone

  /// The time `ahead` intervals behind `to`, for each row; none behind the end of the grid, or without one.
  RETORT_API std::optional<Times> later(int64_t ahead = 1) const;
};

class RETORT_API Solver {
 public:
  static constexpr const char* kind = "solver";
  using Interface = Solver;
  virtual ~Solver();

  /// Order of convergence of the global error on a smooth ODE (of a stochastic solver: of expectations).
  virtual int order() const = 0;
  /// Evaluations of the ODE per step and row; 0 where the solver decides as it goes.
  virtual int evaluations() const = 0;
  /// Moves x: [B, …] from the times step.from to step.to. A row's result depends on that row alone.
  virtual Tensor step(const Step& step, const Tensor& x) const = 0;

  /// Whether `step` is only for alpha(from) > 0 and sigma(to) > 0, and needs no history. The host then calls
  /// `edge_step` for rows at the ends. False by default: sigma(to) may be 0, and alpha(from) may be 0.
  virtual bool interior() const;
  /// The step out of alpha = 0 or into sigma = 0 of a solver that is `interior`: DDIM by default.
  virtual Tensor edge_step(const Step& step, const Tensor& x) const;
  /// Whether steps draw noise.
  virtual bool stochastic() const;
};

/// The exact solution where the teacher's data prediction stays constant over the step: DDIM (Song et al. 2021),
/// which is Euler's method in sigma / alpha. Finite also where alpha(from) = 0 or sigma(to) = 0.
RETORT_API Tensor ddim_step(const Times& from, const Times& to, const Tensor& x, const Tensor& data);

/// One step as the host takes it: by `edge_step` where that is due.
RETORT_API Tensor take_step(const Solver& solver, const Step& step, const Tensor& x);
/// One step by itself, from times t: [B] to s: [B], without a history.
RETORT_API Tensor take_step(const Solver& solver, const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s,
                            const Noise& noise = Noise());

/// Applies `yes` to the rows where mask: [B] bool is true and `no` to the others, each on its rows alone.
RETORT_API Tensor by_rows(const Tensor& mask, const std::function<Tensor(const Tensor& index)>& yes,
                          const std::function<Tensor(const Tensor& index)>& no);

/// Called after each interval with the time reached, the rows under way in solving order, and their states.
using Observer = std::function<void(double time, const Tensor& index, const Tensor& x)>;

/// Solves from each row's own time to the end of the grid.
///
/// grid: [N + 1] float64, falling. start: [B] float64 within the grid's ends, or undefined for grid[0]. A row joins at
/// the interval that holds its time and steps from there to the interval's end. Rows not yet begun are not evaluated:
/// the batch is packed, so a row costs its own steps and no more. `noise` is what a stochastic solver draws from.
RETORT_API Tensor solve(const Ode& ode, const Solver& solver, const Tensor& grid, const Tensor& x,
                        const Tensor& start = {}, const Observer& observer = {}, const Noise& noise = Noise());

}  // namespace retort
