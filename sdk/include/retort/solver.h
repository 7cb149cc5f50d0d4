/// One step along the ODE, and the solve over a whole grid.
#pragma once

#include <functional>
#include <vector>

#include "retort/ode.h"

namespace retort {

/// What a multistep solver remembers between steps, row by row, so that rows can join a batch later than others.
struct RETORT_API History {
  Tensor steps;               // [B] int64: how many steps each row has behind it
  std::vector<Tensor> state;  // [B, …] each: whatever the solver keeps; empty before the first step

  /// Makes room for rows that join behind those already there.
  void grow(int64_t count);
};

class RETORT_API Solver {
 public:
  static constexpr const char* kind = "solver";
  using Interface = Solver;
  virtual ~Solver();

  /// Order of convergence of the global error on a smooth ODE.
  virtual int order() const = 0;
  /// Evaluations of the ODE per step and row; 0 where the solver decides as it goes.
  virtual int evaluations() const = 0;
  /// Moves x: [B, …] from times t: [B] to s: [B], s < t. A row's result depends on that row alone.
  /// sigma(s) may be 0, and alpha(t) may be 0.
  virtual Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History& history) const = 0;
};

/// The exact solution where the teacher's data prediction stays constant over the step: DDIM (Song et al. 2021),
/// which is Euler's method in sigma / alpha. Finite also where alpha(t) = 0 or sigma(s) = 0.
RETORT_API Tensor ddim_step(const Process& process, const Tensor& x, const Tensor& data, const Tensor& t,
                            const Tensor& s);

/// Applies `yes` to the rows where mask: [B] bool is true and `no` to the others, each on its rows alone.
RETORT_API Tensor by_rows(const Tensor& mask, const std::function<Tensor(const Tensor& index)>& yes,
                          const std::function<Tensor(const Tensor& index)>& no);

/// Called after each interval with the time reached, the rows under way in solving order, and their states.
using Observer = std::function<void(double time, const Tensor& index, const Tensor& x)>;

/// Solves from each row's own time to the end of the grid.
///
/// grid: [N + 1] float64, falling. start: [B] float64 within the grid's ends, or undefined for grid[0]. A row joins at
/// the interval that holds its time and steps from there to the interval's end. Rows not yet begun are not evaluated:
/// the batch is packed, so a row costs its own steps and no more.
RETORT_API Tensor solve(const Ode& ode, const Solver& solver, const Tensor& grid, const Tensor& x,
                        const Tensor& start = {}, const Observer& observer = {});

}  // namespace retort
