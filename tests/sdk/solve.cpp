#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// The reference implementation's way: the whole batch is solved from the noisiest row's time, and rows not yet begun
// are put back after each step. Returns the endpoints and counts what it costs.
Tensor masked_solve(const Ode& ode, const Solver& solver, const Tensor& grid, const Tensor& x, const Tensor& start) {
  const int64_t batch = x.size(0);
  Tensor state = x.clone();
  History history;
  history.grow(batch);
  const Noise noise;
  const double noisiest = start.max().item<double>();
  for (int64_t i = 0; i + 1 < grid.size(0); ++i) {
    if (grid[i].item<double>() > noisiest) {
      continue;
    }
    const Tensor t = grid[i].expand({batch}).contiguous();
    const Tensor s = grid[i + 1].expand({batch}).contiguous();
    const Step step{ode, Times(ode.process(), t), Times(ode.process(), s), history, noise, grid.size(0) - 1 - i};
    const Tensor next = take_step(solver, step, state);
    history.steps = history.steps + at::where(t > start, 0, 1);
    const Tensor not_begun = (t > start).unsqueeze(1);
    state = at::where(not_begun, state, next);
  }
  return state;
}

struct Problem {
  TestHost host{"type = \"vp_scaled_linear\""};
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  Tensor grid = host.make_plugin<Schedule>("ddpm", "steps = 100")->times(host.process());
};

}  // namespace

TEST_CASE("packed endpoints equal row-by-row solves, for every solver") {
  Problem p;
  p.grid = p.host.make_plugin<Schedule>("ddpm", "steps = 10")->times(p.host.process());
  const Tensor index = at::randint(0, 10, {16}, seeded(3, "index"), at::kLong);
  const Tensor start = p.grid.index_select(0, index);
  const Tensor x = normal({16, 1}, 4);
  for (const char* name : {"ddim", "euler", "heun", "dpm_solver", "dpmpp_2m", "rk45"}) {
    CAPTURE(std::string(name));
    const auto solver = p.host.make_plugin<Solver>(name);
    const Tensor packed = solve(Ode(*p.teacher), *solver, p.grid, x, start);
    for (int64_t row = 0; row < 16; ++row) {
      const Tensor alone = solve(Ode(*p.teacher), *solver, p.grid, x.narrow(0, row, 1), start.narrow(0, row, 1));
      CHECK(most(alone - packed.narrow(0, row, 1)) < 1e-12);
    }
  }
}

TEST_CASE("packing needs far fewer evaluations than the masked loop, with equal targets") {
  Problem p;
  const auto solver = p.host.make_plugin<Solver>("ddim");
  int64_t packed = 0, masked = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {  // N = 100, batch 16, as Direct CM trains
    const Tensor start = p.grid.index_select(0, at::randint(0, 100, {16}, seeded(seed, "index"), at::kLong));
    const Tensor x = normal({16, 1}, seed);
    const Ode a(*p.teacher), b(*p.teacher);
    const Tensor ours = solve(a, *solver, p.grid, x, start);
    const Tensor theirs = masked_solve(b, *solver, p.grid, x, start);
    CHECK(most(ours - theirs) < 1e-12);
    packed += a.evaluations();
    masked += b.evaluations();
  }
  const double ratio = static_cast<double>(masked) / static_cast<double>(packed);
  MESSAGE("masked " << masked << ", packed " << packed << " evaluations: ratio " << ratio);
  CHECK(ratio > 1.8);  // 94.6 / 50.5 = 1.87 in expectation
  CHECK(ratio < 1.95);
}

TEST_CASE("a row may start between two times of the grid, and the order of rows is kept") {
  Problem p;
  p.grid = p.host.make_plugin<Schedule>("ddpm", "steps = 10")->times(p.host.process());
  const auto solver = p.host.make_plugin<Solver>("rk45", "rtol = 1e-8\natol = 1e-8");
  const Tensor x = normal({3, 1}, 5);
  const Tensor start = times({333.3, 1000, 12.5});
  const Tensor ends = solve(Ode(*p.teacher), *solver, p.grid, x, start);
  for (int64_t row = 0; row < 3; ++row) {
    const Tensor direct = solve(Ode(*p.teacher), *solver, times({start[row].item<double>(), 0}), x.narrow(0, row, 1));
    CHECK(most(direct - ends.narrow(0, row, 1)) < 1e-6);
  }
}

TEST_CASE("a row that starts at the grid's end stays where it is; one beyond its start is an error") {
  Problem p;
  const auto solver = p.host.make_plugin<Solver>("ddim");
  const Tensor x = normal({2, 1}, 6);
  CHECK(at::equal(solve(Ode(*p.teacher), *solver, p.grid, x, times({0, 0})), x));
  CHECK(contains(request_error([&] {
                   solve(Ode(*p.teacher), *solver, p.grid, x, times({0, 1001}));
                 }),
                 "lies outside the schedule's times"));
}

TEST_CASE("the observer sees every grid point") {
  Problem p;
  const auto solver = p.host.make_plugin<Solver>("ddim");
  std::vector<double> seen;
  solve(Ode(*p.teacher), *solver, times({1000, 500, 0}), normal({2, 1}), {},
        [&](double t, const Tensor&, const Tensor&) { seen.push_back(t); });
  CHECK(seen == std::vector<double>{500, 0});
}

TEST_CASE("a starting time that is the grid's but for rounding is the grid's, and one beyond it is not") {
  TestHost host;
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>("heun");
  const Tensor grid = host.make_plugin<Schedule>("karras", "sigma_max = 20.0")->times(host.process());
  const Tensor x = normal({3, 1}, 4) * 20, whole = solve(Ode(*teacher), *solver, grid, x);
  for (const Tensor& t : {at::full({3}, 20.0, at::kDouble), at::full({3}, 20.0F, at::kFloat), grid[0].expand({3})}) {
    const Ode ode(*teacher);
    CHECK(at::equal(solve(ode, *solver, grid, x, t), whole));
    CHECK(ode.evaluations() == 3 * 35);  // no step of rounding's length
  }
  // The same within the grid: each of its times, as float32 has it.
  const Tensor all = grid.narrow(0, 0, 18), y = normal({18, 1}, 5);
  const Ode exact(*teacher), rounded(*teacher);
  CHECK(at::equal(solve(rounded, *solver, grid, y, all.to(at::kFloat)), solve(exact, *solver, grid, y, all)));
  CHECK(rounded.evaluations() == exact.evaluations());
  for (const double t : {20.001, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK(contains(request_error([&] { solve(Ode(*teacher), *solver, grid, x, at::full({3}, t, at::kDouble)); }),
                   "lies outside the schedule's times"));
  }
}
