#include <ATen/ATen.h>

#include <cmath>

#include "world.h"

namespace retort::conformance {

namespace {

constexpr int64_t samples = 48;
constexpr double order_margin = 0.25;

struct Problem {
  Problem(const std::string& name, const Subject& subject)
      : process(make_process(name)),
        teacher(process, {1}),
        world(process, {{1}}, subject.host, at::kDouble),
        solver(world.build<Solver>(subject)) {}

  // Samples of the diffused data at one time.
  Tensor start(double t, int64_t n = samples) const {
    const Tensor x0 = teacher.sample(n, seeded(1, "data"));
    const Tensor noise = at::randn(x0.sizes(), seeded(1, "noise"), x0.options());
    return process.add_noise(x0, noise, at::full({n}, t, at::kDouble));
  }
  Tensor exact(const Tensor& x, double from, double to) const {
    return teacher.transport(x, at::full({x.size(0)}, from, at::kDouble), at::full({x.size(0)}, to, at::kDouble));
  }
  Tensor solved(const Tensor& grid, const Tensor& x, const Tensor& from = {}) const {
    return solve(Ode(teacher), *solver, grid, x, from);
  }

  Process process;
  ExactTeacher teacher;
  World world;
  std::shared_ptr<Solver> solver;
};

// Grid points even in log(sigma / alpha), away from both ends, where the ODE is smooth.
Tensor smooth_grid(const Process& process, int64_t intervals) {
  return process.time_of_noise_level(at::linspace(std::log(4.0), std::log(0.1), intervals + 1, at::kDouble).exp());
}

void check_order(const Subject& subject, const std::string& process, Findings& out) {
  const Problem p(process, subject);
  const Tensor ends = smooth_grid(p.process, 1);
  const double from = ends[0].item<double>(), to = ends[1].item<double>();
  const Tensor x = p.start(from);
  const Tensor exact = p.exact(x, from, to);
  const auto error = [&](int64_t steps) { return rms(p.solved(smooth_grid(p.process, steps), x) - exact); };
  if (p.solver->evaluations() == 0) {
    out.at_most("accuracy on " + process, error(1), 1e-2, "RMS error over one interval");
    return;
  }
  // The finest pair whose errors still stand well above rounding.
  constexpr double rounding = 1e-11;
  double coarse = error(40), fine = error(80), steps = 80;
  while (steps < 320 && fine > 1e3 * rounding) {
    steps *= 2;
    coarse = std::exchange(fine, error(static_cast<int64_t>(steps)));
  }
  const double order = std::log2(coarse / fine);
  const int declared = p.solver->order();
  out.add("order on " + process, std::abs(order - declared) <= order_margin,
          "order " + spell(order) + " (RMS error " + spell(fine) + " in " + spell(steps) + " steps)",
          "the declared order " + std::to_string(declared) + ", within " + spell(order_margin));
}

void check_evaluations(const Subject& subject, Findings& out) {
  const Problem p("ve", subject);
  const auto evaluations = [&](int64_t steps) {
    const Ode ode(p.teacher);
    const Tensor grid = smooth_grid(p.process, steps);
    solve(ode, *p.solver, grid, p.start(grid[0].item<double>()));
    return static_cast<double>(ode.evaluations()) / static_cast<double>(samples);
  };
  // Of further steps: how a solver begins may cost more.
  const double each = (evaluations(24) - evaluations(12)) / 12;
  const int declared = p.solver->evaluations();
  out.add("evaluations", declared == 0 ? each > 0 : each == declared, spell(each) + " per step and row",
          declared == 0 ? "any number, as the solver adapts" : "the declared " + std::to_string(declared));
}

void check_rows(const Subject& subject, Findings& out) {
  const Problem p("vp_linear", subject);
  const Tensor grid = even_grid(p.process, 10);
  constexpr int64_t count = 9;
  // Rows that join at times of their own, so that multistep histories differ too.
  const Tensor t = grid.index_select(0, at::arange(count, at::kLong));
  const Tensor noise = at::randn({count, 1}, seeded(2, "noise"), at::TensorOptions().dtype(at::kDouble));
  const Tensor x = p.process.add_noise(p.teacher.sample(count, seeded(2, "data")), noise, t);
  const Tensor together = p.solved(grid, x, t);
  std::vector<Tensor> alone;
  for (int64_t i = 0; i < count; ++i) {
    alone.push_back(solve(Ode(p.teacher), *p.solver, grid, x.narrow(0, i, 1), t.narrow(0, i, 1), {},
                          Noise(0, at::full({1}, i, at::kLong))));
  }
  out.at_most("rows are independent", largest(together - at::cat(alone)), 1e-10, "batch and single rows differ by");
}

void check_processes(const Subject& subject, Findings& out) {
  for (const std::string& name : process_names) {
    out.run("solves " + name, [&] {
      const Problem p(name, subject);
      const double from = first_time(p.process);
      const Tensor x = p.start(from);
      const Tensor exact = p.exact(x, from, 0);
      const Tensor end = p.solved(even_grid(p.process, 200), x);
      // From pure noise to sigma = 0: an alpha of 0 and a sigma of 0 are both met.
      const double error = all_finite(end) ? rms(end - exact) : std::numeric_limits<double>::infinity();
      out.at_most("solves " + name, error, 0.05, "RMS error from pure noise to sigma = 0 in 200 steps");
    });
  }
}

void check_types(const Subject& subject, Findings& out) {
  const Problem p("rectified_flow", subject);
  const Tensor grid = even_grid(p.process, 40);
  const Tensor x = p.start(first_time(p.process));
  const Tensor fine = p.solved(grid, x), coarse = p.solved(grid, x.to(at::kFloat));
  out.add("keeps the dtype", fine.scalar_type() == at::kDouble && coarse.scalar_type() == at::kFloat,
          std::string(c10::toString(coarse.scalar_type())) + " from Float, " + c10::toString(fine.scalar_type()) +
              " from Double",
          "the type of the states");
  out.at_most("float32 agrees with float64", all_finite(coarse) ? rms(fine - coarse) : HUGE_VAL, 1e-4,
              "RMS difference");
  out.add("deterministic", same_bits(fine, p.solved(grid, x)),
          same_bits(fine, p.solved(grid, x)) ? "equal bits" : "differs", "equal bits from equal inputs");
}

void check_shapes(const Subject& subject, Findings& out) {
  const Process process = make_process("ve");
  const ExactTeacher pictures(process, {2, 3, 4});
  World world(process, {{2, 3, 4}}, subject.host, at::kDouble);
  const auto solver = world.build<Solver>(subject);
  const Tensor x = at::randn({5, 2, 3, 4}, seeded(3, "noise"), at::TensorOptions().dtype(at::kDouble)) * 20;
  // One noise for both shapes.
  const auto noise = [&](const std::vector<int64_t>& shape) {
    return Noise([shape](int64_t step, int64_t draw) {
      return at::randn(shape, seeded(4 + static_cast<uint64_t>(draw), "noise", static_cast<uint64_t>(step)),
                       at::TensorOptions().dtype(at::kDouble));
    });
  };
  const Tensor grid = even_grid(process, 40);
  const Tensor end = solve(Ode(pictures), *solver, grid, x, {}, {}, noise({5, 2, 3, 4}));
  const ExactTeacher line(process, {1});
  const Tensor flat = solve(Ode(line), *solver, grid, x.view({-1, 1}), {}, {}, noise({x.numel(), 1})).view(x.sizes());
  // A solver that adapts may choose its steps for a whole sample.
  const double limit = solver->evaluations() == 0 ? 1e-2 : 1e-10;
  out.at_most("any shape of sample", largest(end - flat), limit, "[5, 2, 3, 4] differs from its numbers alone by");
}

void check_inputs(const Subject& subject, Findings& out) {
  const Problem p("vp_linear", subject);
  const Tensor grid = even_grid(p.process, 4);
  Given given;
  Tensor x = p.start(grid[0].item<double>());
  History history;
  history.grow(samples);
  const Noise noise;
  for (int64_t i = 0; i < 2; ++i) {  // the second of a multistep solver differs
    const Tensor t = grid[i].expand({samples}).contiguous(), s = grid[i + 1].expand({samples}).contiguous();
    const Ode ode(p.teacher);
    const Step step{ode, Times(p.process, given("from", t)), Times(p.process, given("to", s)), history, noise, 4 - i};
    x = take_step(*p.solver, step, given("x", x)).clone();
    history.steps = history.steps + 1;
  }
  given.check(out);
}

}  // namespace

// What a stochastic solver must do in place of following the ODE: its ends have the data's mean and spread.
void check_moments(const Subject& subject, const std::string& process, Findings& out) {
  const std::string name = "ends are distributed as the data on " + process;
  out.run(name, [&] {
    const Problem p(process, subject);
    constexpr int64_t count = 4000;
    const Tensor x = p.start(first_time(p.process), count), data = p.teacher.sample(count, seeded(5, "data"));
    const Tensor end = p.solved(even_grid(p.process, 200), x);
    const double mean = std::abs((end.mean() - data.mean()).item<double>());
    const double spread = std::abs((end.std() / data.std() - 1).item<double>());
    out.at_most(name, all_finite(end) ? std::max(mean, spread) : HUGE_VAL, 0.1, "mean and spread differ by");
  });
}

void check_noise(const Subject& subject, Findings& out) {
  const Problem p("ve", subject);
  const Tensor grid = even_grid(p.process, 10), x = p.start(first_time(p.process));
  const auto ends = [&](uint64_t seed) { return solve(Ode(p.teacher), *p.solver, grid, x, {}, {}, Noise(seed)); };
  out.add("draws noise of its seed", same_bits(ends(1), ends(1)) && largest(ends(1) - ends(2)) > 1e-3,
          same_bits(ends(1), ends(1)) ? "seeds 1 and 2 differ by " + spell(largest(ends(1) - ends(2)))
                                      : "equal seeds differ",
          "equal ends for equal seeds, others for others");
}

void check_solver(const Subject& subject, Findings& out) {
  bool stochastic = false;
  out.run("builds", [&] { stochastic = Problem("ve", subject).solver->stochastic(); });
  if (stochastic) {
    check_moments(subject, "ve", out);
    check_moments(subject, "vp_linear", out);
    out.run("draws noise of its seed", [&] { check_noise(subject, out); });
  } else {
    out.run("order on ve", [&] { check_order(subject, "ve", out); });
    out.run("order on vp_linear", [&] { check_order(subject, "vp_linear", out); });
  }
  out.run("evaluations", [&] { check_evaluations(subject, out); });
  out.run("rows are independent", [&] { check_rows(subject, out); });
  if (!stochastic) {
    check_processes(subject, out);
  }
  out.run("keeps the dtype", [&] { check_types(subject, out); });
  out.run("any shape of sample", [&] { check_shapes(subject, out); });
  out.run("leaves its inputs as they are", [&] { check_inputs(subject, out); });
}

}  // namespace retort::conformance
