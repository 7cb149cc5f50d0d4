#include "retort/solver.h"

#include <ATen/ATen.h>

#include <limits>
#include <utility>

#include "retort/fused.h"

namespace retort {

void History::grow(int64_t count) {
  if (!steps.defined()) {
    steps = at::zeros({count}, at::kLong);
    return;
  }
  const int64_t joining = count - steps.size(0);
  if (joining <= 0) {
    return;
  }
  const auto padded = [joining](const Tensor& old) {
    std::vector<int64_t> shape = old.sizes().vec();
    shape[0] = joining;
    return at::cat({old, at::zeros(shape, old.options())});
  };
  steps = padded(steps);
  for (auto& [name, item] : state) {
    item = item.defined() ? padded(item) : item;
  }
}

Tensor History::take(const std::string& name, const std::function<Tensor(const Tensor&)>& compute) {
  const Tensor left = std::exchange(state[name], Tensor());
  const Tensor all = at::arange(steps.size(0), at::kLong);
  if (!left.defined()) {
    return compute(all);
  }
  const Tensor joined = all.masked_select(steps == 0);
  if (joined.numel() == 0) {
    return left;
  }
  return left.index_copy(0, joined.to(left.device()), compute(joined));
}

std::optional<Times> Step::later(int64_t ahead) const {
  if (!grid.defined() || ahead >= remaining) {
    return {};
  }
  return Times(ode.process(), grid[grid.size(0) - remaining + ahead].expand_as(to.t()).contiguous());
}

bool Solver::interior() const { return false; }
bool Solver::stochastic() const { return false; }
Tensor Solver::edge_step(const Step& step, const Tensor& x) const {
  return ddim_step(step.from, step.to, x, step.ode.data(x, step.from.t()));
}

Tensor ddim_step(const Times& from, const Times& to, const Tensor& x, const Tensor& data) {
  const Tensor ratio = to.sigma() / from.sigma();
  return combine({{ratio, x}, {to.alpha() - from.alpha() * ratio, data}});
}

Tensor take_step(const Solver& solver, const Step& step, const Tensor& x) {
  if (!solver.interior()) {
    return solver.step(step, x);
  }
  const Tensor inside = (step.from.alpha() > 0).logical_and(step.to.sigma() > 0);
  if (inside.all().item<bool>()) {
    return solver.step(step, x);
  }
  const auto on = [&](const Tensor& index, const auto& work) {
    const Ode ode = step.ode.rows(index);
    const Noise noise = step.noise.select(index);
    History none;
    none.grow(index.size(0));
    return work(Step{ode, step.from.select(index), step.to.select(index), none, noise, step.remaining, step.grid},
                x.index_select(0, index.to(x.device())));
  };
  return by_rows(
      inside,
      [&](const Tensor& index) {
        return on(index, [&](const Step& part, const Tensor& xi) { return solver.step(part, xi); });
      },
      [&](const Tensor& index) {
        return on(index, [&](const Step& part, const Tensor& xi) { return solver.edge_step(part, xi); });
      });
}

Tensor take_step(const Solver& solver, const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s,
                 const Noise& noise) {
  History none;
  none.grow(x.size(0));
  return take_step(solver, Step{ode, Times(ode.process(), t), Times(ode.process(), s), none, noise}, x);
}

Tensor by_rows(const Tensor& mask, const std::function<Tensor(const Tensor&)>& yes,
               const std::function<Tensor(const Tensor&)>& no) {
  const Tensor in = at::nonzero(mask).view({-1});
  const Tensor out = at::nonzero(mask.logical_not()).view({-1});
  if (out.numel() == 0) {
    return yes(in);
  }
  if (in.numel() == 0) {
    return no(out);
  }
  const Tensor joined = at::cat({yes(in), no(out)});
  return joined.index_select(0, at::cat({in, out}).argsort().to(joined.device()));
}

namespace {

// Starting times as the grid has them. Grids are computed, so a time that is meant to be one of theirs may be apart
// from it by rounding: within some units in the last place of the largest time it is that one.
Tensor on_grid(const Tensor& grid, const Tensor& given) {
  const double unit = given.scalar_type() == at::kDouble ? 64 * std::numeric_limits<double>::epsilon()
                                                         : std::numeric_limits<float>::epsilon();
  const double tolerance = unit * grid.abs().max().item<double>();
  const Tensor start = given.to(at::kCPU, at::kDouble);
  const auto nearest = (start.unsqueeze(1) - grid.unsqueeze(0)).abs().min(1);
  const Tensor apart = std::get<0>(nearest), index = std::get<1>(nearest);
  return at::where(apart <= tolerance, grid.index_select(0, index), start);
}

// The interval at which each row joins.
Tensor joining_intervals(const Tensor& grid, const Tensor& start) {
  const double noisiest = grid[0].item<double>();
  const double cleanest = grid[-1].item<double>();
  const Tensor inside = (start <= noisiest).logical_and(start >= cleanest);  // false for what is no number
  if (!inside.all().item<bool>()) {
    const double wrong = start.masked_select(inside.logical_not())[0].item<double>();
    throw RequestError("a starting time, " + Value{wrong, {}}.text() + ", lies outside the schedule's times, " +
                       Value{cleanest, {}}.text() + " to " + Value{noisiest, {}}.text());
  }
  // grid falls, so its negative rises; `right` counts the grid times that are >= start.
  return at::searchsorted((-grid).contiguous(), (-start).contiguous(), /*out_int32=*/false, /*right=*/true) - 1;
}

Tensor solve_anew(const Ode& ode, const Solver& solver, const Tensor& grid, const Tensor& x, const Tensor& start,
                  const Observer& observer, const Noise& noise) {
  const int64_t batch = x.size(0);
  const int64_t intervals = grid.size(0) - 1;
  const Tensor times = start.defined() ? on_grid(grid, start) : grid[0].expand({batch}).contiguous();
  const Tensor joins = start.defined() ? joining_intervals(grid, times) : at::zeros({batch}, at::kLong);

  // Rows in the order in which they join: those under way are always the first ones, so packing is a view.
  const Tensor order = joins.argsort(/*stable=*/true);
  const Tensor sorted = joins.index_select(0, order).contiguous();
  const int64_t* join = sorted.data_ptr<int64_t>();
  const bool permuted = start.defined();
  const Tensor states = permuted ? x.index_select(0, order.to(x.device())) : x.clone();
  Tensor from = times.index_select(0, order);
  const Ode all = permuted ? ode.rows(order) : ode;
  const Noise drawn = permuted ? noise.select(order) : noise;

  History history;
  int64_t active = 0;
  for (int64_t i = 0; i < intervals; ++i) {
    while (active < batch && join[active] <= i) {
      ++active;
    }
    if (active == 0) {
      continue;
    }
    history.grow(active);
    const Tensor t = from.narrow(0, 0, active).clone();  // a solver may keep it in its history
    const Tensor s = grid[i + 1].expand({active}).contiguous();
    Tensor current = states.narrow(0, 0, active);
    const Ode under_way = active == batch ? all : all.first(active);
    const Noise of_step = (active == batch ? drawn : drawn.select(at::arange(active, at::kLong))).at(i);
    const Tensor next = take_step(
        solver,
        Step{under_way, Times(ode.process(), t), Times(ode.process(), s), history, of_step, intervals - i, grid},
        current);
    history.steps = history.steps + 1;
    current.copy_(next);
    from.narrow(0, 0, active).copy_(s);
    if (observer) {
      observer(grid[i + 1].item<double>(), order.narrow(0, 0, active), current);
    }
  }
  if (!permuted) {
    return states;
  }
  return at::empty_like(states).index_copy_(0, order.to(x.device()), states);
}

// Hands a remembered trajectory to an observer.
void replay(const Tensor& states, const Tensor& grid, const Observer& observer) {
  const Tensor all = at::arange(states.size(1), at::kLong);
  for (int64_t i = 0; i < states.size(0); ++i) {
    observer(grid[i + 1].item<double>(), all, states[i]);
  }
}

}  // namespace

Tensor solve(const Ode& ode, const Solver& solver, const Tensor& grid, const Tensor& x, const Tensor& start,
             const Observer& observer, const Noise& noise) {
  if (x.size(0) == 0) {
    return x;
  }
  SolveMemory* const memory = ode.memory(solver);
  // Trajectories whose rows join one after another are not kept: their states have no common shape.
  if (memory == nullptr || solver.stochastic() || (observer && start.defined())) {
    return solve_anew(ode, solver, grid, x, start, observer, noise);
  }
  const SolveMemory::Solve key{grid, x, start, ode.condition(), observer != nullptr};
  if (const std::optional<SolveMemory::Result> known = memory->recall(key)) {
    ode.count_remembered(known->evaluations);
    if (!observer) {
      return known->states;
    }
    replay(known->states, grid, observer);
    return known->states[-1].clone();
  }
  const int64_t before = ode.evaluations();
  std::vector<Tensor> states;
  const auto gather = [&](double time, const Tensor& index, const Tensor& state) {
    states.push_back(state.clone());
    observer(time, index, state);
  };
  const Tensor ends = solve_anew(ode, solver, grid, x, start, observer ? Observer(gather) : Observer(), noise);
  memory->keep(key, {observer ? at::stack(states) : ends, ode.evaluations() - before});
  return ends;
}

}  // namespace retort
