/// Direct consistency model: the student regresses on the end of the teacher's ODE.
///
/// Draws a time t of the grid, noises the data to x_t, solves the teacher's ODE from each row's own time to the end of
/// the grid, and takes the distance between f(x_t, t) and that endpoint. The solve is packed: a row costs its own steps
/// and no more, whatever the other rows of the batch need.
///
/// With pairs = K > 1 trajectories are reused: one row in K is solved from the noisiest time, and
/// K times are drawn along each trajectory, all of which share its end. A training pair then costs about 2 / K of what
/// it costs otherwise; but the pairs of one trajectory are correlated, and their states lie on the teacher's
/// trajectories instead of being noised data. Source: Vouitsis et al. 2024, "Inconsistencies in Consistency Models"
/// (arXiv 2411.08954).
///
///     [loss]
///     type = "direct_cm"
///     distance = "pseudo_huber"      # or "l2", the default, or "l1"
///     pairs = 1
///     weighting = "none"             # or "snr", "truncated_snr", "karras", …
#include <retort/plugin.h>

#include "consistency_step.h"
#include "weighting.h"

using namespace retort;

class DirectCm final : public Loss {
 public:
  explicit DirectCm(Params& p)
      : distance_(p),
        pairs_(p.get("pairs", 1, "training pairs of each solve; 1: every pair has a solve of its own", at_least(1))),
        weighting_(p) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    return pairs_ == 1 ? from_own_solves(step) : from_trajectories(step);
  }

 private:
  LossValue from_own_solves(const TrainingStep& step) const {
    const NoisedSample at = draw_noised_sample(step);
    const Tensor target = solve(*step.ode, *step.solver, at.grid, at.x, at.t);
    const Tensor prediction = step.student.consistency(at.x, at.t, step.batch.condition);
    return weighted(step, distance_(prediction, target), at.t, at.grid);
  }

  LossValue from_trajectories(const TrainingStep& step) const {
    const int64_t rows = step.batch.x.size(0);
    if (step.whole_rows() != rows && rows % pairs_ != 0) {
      throw RequestError("loss.pairs: " + std::to_string(pairs_) + " does not divide the " + std::to_string(rows) +
                         " rows of each process; expected a divisor, so that no trajectory is split");
    }
    const int64_t count = (rows + pairs_ - 1) / pairs_;
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const Tensor interval = step.intervals(grid.size(0) - 1);
    // Pair i is of trajectory i / K, which begins from the data of its first pair.
    const Tensor pair = at::arange(count, at::kLong) * pairs_;
    const Tensor trajectory = at::arange(rows, at::kLong).div(pairs_, "floor");
    const Tensor x0 = step.batch.x.index_select(0, pair.to(step.batch.x.device()));
    const Tensor noise = step.noise().index_select(0, pair.to(step.batch.x.device()));
    const Tensor first = grid[0].expand({count}).contiguous();

    const at::NoGradGuard no_grad;
    const Tensor begin = step.process.add_noise(x0, noise, first);
    std::vector<Tensor> states = {begin};
    const Tensor ends = solve(step.ode->rows(pair), *step.solver, grid, begin, {},
                              [&](double, const Tensor&, const Tensor& x) { states.push_back(x.clone()); });
    // … at the start of its interval.
    const Tensor x = at::stack(states).flatten(0, 1).index_select(0, (interval * count + trajectory).to(x0.device()));
    const Tensor t = grid.index_select(0, interval);
    const Conditioning condition = step.batch.condition.select(pair).select(trajectory);

    const at::AutoGradMode gradients(true);
    const Tensor target = ends.index_select(0, trajectory.to(x0.device()));
    return weighted(step, distance_(step.student.consistency(x, t, condition), target), t, grid);
  }

  // The target is of the grid's end.
  LossValue weighted(const TrainingStep& step, const Tensor& distance, const Tensor& t, const Tensor& grid) const {
    return {weighting_(distance, step.student, t, grid[-1].expand_as(t)), t};
  }

  Distance distance_;
  int64_t pairs_;
  Weighting weighting_;
};

RETORT_PLUGIN(DirectCm, loss, direct_cm)
