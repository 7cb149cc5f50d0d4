/// Restart sampling: a solver of the ODE that goes back up by noise, some times over certain intervals of noise levels.
///
/// An interval is [t_min, t_max, K, steps], in levels sigma / alpha. The first step that ends at t_min or below is
/// followed by K rounds: noise from that end's level up to t_max, y' = y + sqrt(t_max^2 - l^2) s_noise z, and `steps`
/// steps of the solver down again to the step's end, on Karras et al.'s grid of exponent rho. That contracts the errors
/// of the way before. The law is the ODE's; K = 0 is the solver itself. Intervals at one step are worked off in order.
/// A row's history is forgotten after a restart. A step then costs K * steps steps more, so evaluations() cannot tell,
/// and says 0. Source: Xu et al. 2023 (arXiv 2306.14878), section 3; its code counts grid points, steps + 1, and goes
/// by the grid time nearest to t_min. For ImageNet-64 it has 36 steps of "heun" and
///   intervals = [[19.35, 40.79, 1, 3], [1.09, 1.92, 1, 3], [0.59, 1.09, 5, 3], [0.3, 0.59, 5, 3], [0.06, 0.3, 6, 5]]
///
///     [solver]
///     type = "restart"
///     solver = "heun"                # or another that draws no noise
///     intervals = [[0.06, 0.3, 2, 2]]
///     s_noise = 1.0
#include <retort/host.h>
#include <retort/plugin.h>

#include <cmath>

#include "sde.h"

using namespace retort;

class Restart final : public Solver {
 public:
  explicit Restart(Params& p)
      : solver_(p.plugin<Solver>("solver", "heun", "takes the steps, on the way and in the restarts")),
        s_noise_(p.get("s_noise", 1.0, "factor of the noise; the marginals are kept by 1 alone", at_least(0))),
        rho_(p.get("rho", 7.0, "exponent of the grid of a restart", more_than(0))) {
    const auto table = p.get("intervals", std::vector<std::vector<double>>{{0.06, 0.3, 2, 2}},
                             "[t_min, t_max, K, steps] each: levels sigma / alpha, rounds, and steps of a round");
    if (solver_ && solver_->stochastic()) {
      throw p.error("solver", "it draws noise of its own; expected a solver of the ODE");
    }
    int64_t place = first_place;
    for (const std::vector<double>& row : table) {
      if (row.size() != 4 || !(row[0] >= 0) || !(row[1] > row[0]) || row[2] < 0 || row[3] < 1 ||
          row[2] != std::floor(row[2]) || row[3] != std::floor(row[3])) {
        throw p.error("intervals",
                      "wrong entry; expected [t_min, t_max, K, steps] with 0 <= t_min < t_max, and whole "
                      "numbers K >= 0 and steps >= 1");
      }
      intervals_.push_back({row[0], row[1], static_cast<int64_t>(row[2]), static_cast<int64_t>(row[3]), place});
      place += intervals_.back().rounds;
      if (!p.is_describing() && !p.host().process().is_variance_exploding()) {
        const Process& process = p.host().process();
        const double noisiest = process.noise_level(at::full({1}, process.t_max(), at::kDouble)).item<double>();
        if (row[1] > noisiest) {
          throw p.error("intervals",
                        "a t_max above the process's noisiest level; expected at most " + Value{noisiest, {}}.text());
        }
      }
    }
  }
  int order() const override { return solver_->order(); }
  int evaluations() const override { return stochastic() ? 0 : solver_->evaluations(); }
  bool stochastic() const override {
    return std::any_of(intervals_.begin(), intervals_.end(), [](const Interval& i) { return i.rounds > 0; });
  }

  Tensor step(const Step& step, const Tensor& x) const override {
    Tensor end = take_step(*solver_, step, x);
    for (const Interval& interval : intervals_) {
      const Tensor due = (step.from.noise_level() > interval.low).logical_and(step.to.noise_level() <= interval.low);
      const Tensor index = at::nonzero(due).view({-1}), there = index.to(x.device());
      if (interval.rounds == 0 || index.numel() == 0) {
        continue;
      }
      end = end.index_copy(0, there, restarted(step, index, end.index_select(0, there), interval));
      forget(step.history, index);
    }
    return end;
  }

 private:
  struct Interval {
    double low, high;
    int64_t rounds, steps;
    int64_t place;  // of its noise
  };
  // The noise of restarts counts as that of steps far beyond the solve's own.
  static constexpr int64_t first_place = 1 << 20;

  Tensor restarted(const Step& step, const Tensor& index, Tensor x, const Interval& interval) const {
    const Ode ode = step.ode.rows(index);
    const Noise noise = step.noise.select(index);
    const Times end = step.to.select(index);
    const Tensor low = end.noise_level().pow(1 / rho_);
    const double high = std::pow(interval.high, 1 / rho_);
    std::vector<Times> grid;
    for (int64_t j = 0; j < interval.steps; ++j) {
      const double share = static_cast<double>(j) / static_cast<double>(interval.steps);
      grid.emplace_back(ode.process(), ode.process().time_of_noise_level((high + share * (low - high)).pow(rho_)));
    }
    grid.push_back(end);
    const Times& top = grid.front();
    const Tensor up = top.alpha() * (top.noise_level().square() - end.noise_level().square()).sqrt() * s_noise_;
    for (int64_t k = 0; k < interval.rounds; ++k) {
      x = combine({{top.alpha() / end.alpha(), x}, {up, noise.at(interval.place + k).normal(x)}});
      History history;
      history.grow(index.numel());
      for (int64_t j = 0; j < interval.steps; ++j) {
        const auto at = static_cast<size_t>(j);
        x = take_step(*solver_, Step{ode, grid[at], grid[at + 1], history, noise, interval.steps - j}, x);
        history.steps = history.steps + 1;
      }
    }
    return x;
  }

  // As rows that join: nothing is behind them once the host has counted this step.
  static void forget(History& history, const Tensor& index) {
    history.steps = history.steps.index_fill(0, index, -1);
    for (auto& [name, item] : history.state) {
      if (item.defined()) {
        item = item.index_fill(0, index.to(item.device()), 0);
      }
    }
  }

  std::shared_ptr<Solver> solver_;
  double s_noise_, rho_;
  std::vector<Interval> intervals_;
};

RETORT_PLUGIN(Restart, solver, restart)
