/// Grids that are found for a teacher and a solver, from the errors that they make.
#pragma once

#include <functional>

#include "retort/solver.h"

namespace retort {

/// What a grid is to be found for.
struct GridProblem {
  const Ode& ode;        // bound to the conditions of `start`
  const Solver& solver;  // draws no noise
  Tensor start;          // [n, …] states at the first time
};

/// The dynamic programme of GITS (Chen et al. 2024, arXiv 2405.11326, section 4.2): of the times of `fine`, those
/// `steps` + 1 (the ends among them) over which the errors of single steps add up to the least. A step's error is the
/// root mean square distance from the fine trajectory, of states over sqrt(alpha^2 + sigma^2); that of the k-th step
/// counts weight^(k - 1). The steps are the solver's own, each without a history, where the paper has Euler's. fine:
/// [M + 1] float64, falling; the trajectory goes over it by `reference`.
Tensor grid_by_local_errors(const GridProblem& problem, const Solver& reference, const Tensor& fine, int64_t steps,
                            double weight);

/// Descends on the mean squared distance of the ends from `ends`: [n, …], as LD3 does (Tong et al. 2025, arXiv
/// 2405.15506), from `grid`: [N + 1], whose own ends stay. The lengths of the steps in lambda = log(alpha / sigma) are
/// the parameters, and the place where a step into sigma = 0 begins. Their gradient is a difference, which asks nothing
/// of the teacher but evaluations. LD3's second set of times, those that the network is told, is not had. `said` is
/// told the error after each of `rounds` rounds. Returns the best grid seen.
Tensor grid_by_end_error(const GridProblem& problem, const Tensor& ends, const Tensor& grid, int64_t rounds,
                         const std::function<void(int64_t round, double error)>& said);

/// The mean squared distance of the ends over a grid from `ends`.
double end_error(const GridProblem& problem, const Tensor& ends, const Tensor& grid);

}  // namespace retort
