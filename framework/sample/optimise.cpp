#include "sample/optimise.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <vector>

#include "interrupt.h"
#include "log.h"

namespace retort {

namespace {

double mean_square(const Tensor& a, const Tensor& b) { return (a - b).to(at::kDouble).square().mean().item<double>(); }

void stop_if_asked() {
  if (stop_requested()) {
    throw Error("interrupted; nothing was written");
  }
}

// The states of the trajectory at each time of the grid.
std::vector<Tensor> trajectory(const GridProblem& problem, const Solver& solver, const Tensor& grid) {
  std::vector<Tensor> out = {problem.start};
  solve(problem.ode, solver, grid, problem.start, {}, [&](double, const Tensor&, const Tensor& x) {
    stop_if_asked();
    out.push_back(x.clone());
  });
  return out;
}

// Grids with the same ends as one that is given, from numbers: the logarithms of the lengths in lambda, of which only
// the ratios count, and first the lambda at which a step out of alpha = 0 ends, or one into sigma = 0 begins: at those
// ends lambda is infinite, and that place is free.
class Grids {
 public:
  Grids(Process process, const Tensor& grid) : process_(std::move(process)), first_(grid[0]), last_(grid[-1]) {
    const Tensor lambda = process_.lambda(grid);
    begin_moves_ = !lambda[0].isfinite().item<bool>();
    end_moves_ = !lambda[-1].isfinite().item<bool>();
    inner_ = lambda.masked_select(lambda.isfinite());
  }

  Tensor numbers() const {
    std::vector<Tensor> out;
    if (begin_moves_) {
      out.push_back(inner_[0].view({1}));
    }
    if (end_moves_) {
      out.push_back(inner_[-1].view({1}));
    }
    out.push_back(inner_.diff().log());
    return at::cat(out);
  }

  Tensor grid(const Tensor& numbers) const {
    int64_t at = 0;
    const Tensor begin = begin_moves_ ? numbers[at++] : inner_[0];
    const Tensor length = ((end_moves_ ? numbers[at++] : inner_[-1]) - begin).clamp_min(1e-3);
    const Tensor reached = at::softmax(numbers.narrow(0, at, numbers.size(0) - at), 0).cumsum(0);
    const Tensor times = process_.time(at::cat({begin.view({1}), begin + length * reached}));
    // The ends are said as they were.
    const int64_t from = begin_moves_ ? 0 : 1, to = times.size(0) - (end_moves_ ? 0 : 1);
    return at::cat({first_.view({1}), times.narrow(0, from, to - from), last_.view({1})});
  }

 private:
  Process process_;
  Tensor first_, last_, inner_;
  bool begin_moves_ = false, end_moves_ = false;
};

}  // namespace

double end_error(const GridProblem& problem, const Tensor& ends, const Tensor& grid) {
  stop_if_asked();
  return mean_square(solve(problem.ode, problem.solver, grid, problem.start), ends);
}

Tensor grid_by_local_errors(const GridProblem& problem, const Solver& reference, const Tensor& fine, int64_t steps,
                            double weight) {
  const int64_t m = fine.size(0) - 1, n = problem.start.size(0);
  const std::vector<Tensor> states = trajectory(problem, reference, fine);
  const auto at_time = [&](int64_t i) { return fine[i].expand({n}).contiguous(); };
  const Tensor radius = at::hypot(problem.ode.process().alpha(fine), problem.ode.process().sigma(fine));
  const double none = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> error(static_cast<size_t>(m), std::vector<double>(static_cast<size_t>(m + 1), none));
  log::Progress progress("single steps", m * (m + 1) / 2);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = i + 1; j <= m; ++j) {
      stop_if_asked();
      const Tensor next =
          take_step(problem.solver, problem.ode, states[static_cast<size_t>(i)], at_time(i), at_time(j));
      error[static_cast<size_t>(i)][static_cast<size_t>(j)] =
          std::sqrt(mean_square(next, states[static_cast<size_t>(j)])) / radius[j].item<double>();
      progress.advance(1);
    }
  }
  // best[k][j]: the least that k steps to time j lose; from[k][j]: the time before it.
  std::vector<std::vector<double>> best(static_cast<size_t>(steps + 1),
                                        std::vector<double>(static_cast<size_t>(m + 1), none));
  std::vector<std::vector<int64_t>> from(best.size(), std::vector<int64_t>(static_cast<size_t>(m + 1), -1));
  best[0][0] = 0;
  double counts = 1;
  for (size_t k = 1; k < best.size(); ++k, counts *= weight) {
    for (size_t j = 1; j <= static_cast<size_t>(m); ++j) {
      for (size_t i = 0; i < j; ++i) {
        const double lost = best[k - 1][i] + counts * error[i][j];
        if (lost < best[k][j]) {
          best[k][j] = lost;
          from[k][j] = static_cast<int64_t>(i);
        }
      }
    }
  }
  std::vector<int64_t> places = {m};
  for (size_t k = best.size() - 1; k > 0; --k) {
    places.insert(places.begin(), from[k][static_cast<size_t>(places.front())]);
  }
  return fine.index_select(0, at::tensor(places, at::kLong));
}

Tensor grid_by_end_error(const GridProblem& problem, const Tensor& ends, const Tensor& grid, int64_t rounds,
                         const std::function<void(int64_t, double)>& said) {
  const Grids grids(problem.ode.process(), grid);
  Tensor now = grids.numbers(), best_grid = grid;
  // The logarithm: errors of grids differ by powers of ten.
  const auto value = [&](const Tensor& numbers) {
    return std::log(end_error(problem, ends, grids.grid(numbers)) + 1e-30);
  };
  double here = value(now), best = here;
  constexpr double apart = 0.02;
  double reach = 0.2;
  for (int64_t round = 1; round <= rounds && reach > 1e-3; ++round) {
    Tensor slope = at::zeros_like(now);
    for (int64_t i = 0; i < now.size(0); ++i) {
      const Tensor nudge = at::zeros_like(now).index_fill_(0, at::tensor({i}, at::kLong), apart);
      slope[i].fill_((value(now + nudge) - value(now - nudge)) / (2 * apart));
    }
    const double length = slope.norm().item<double>();
    if (length == 0) {
      break;
    }
    // A step that does not help is halved; one that does lets the next be longer.
    bool better = false;
    while (!better && reach > 1e-3) {
      const Tensor tried = now - slope * (reach / length);
      const double there = value(tried);
      better = there < here;
      if (better) {
        now = tried;
        here = there;
      }
      reach *= better ? 1.5 : 0.5;
    }
    if (here < best) {
      best = here;
      best_grid = grids.grid(now);
    }
    said(round, std::exp(best));
  }
  return best_grid;
}

}  // namespace retort
