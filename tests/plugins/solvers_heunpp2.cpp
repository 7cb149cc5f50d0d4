// Heun++, and the times after a step that it looks at.
#include "support/solvers.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

struct Lesson {
  TestHost host;
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  std::shared_ptr<Solver> solver = host.make_plugin<Solver>("heunpp2");

  explicit Lesson(const std::string& process = "type = \"ve\"") : host(process) {}
  Tensor solved(const Tensor& grid, const Tensor& x, const Tensor& start = {}) const {
    return solve(Ode(*teacher), *solver, grid, x, start);
  }
};

}  // namespace

TEST_CASE("heunpp2 reproduces its peer's numbers (tests/parity)") { reproduce("heunpp2.json", 7); }

TEST_CASE("heunpp2 is of order 1: its weights are those of Euler's step where noise is little") {
  TestHost ve, vp("type = \"vp_linear\"");
  for (const double o :
       {measured_order(ve, "heunpp2", "", 10, 0.05, log_grid), measured_order(vp, "heunpp2", "", 1.0, 0.01, log_grid),
        measured_order(ve, "heunpp2", "", 10, 0.05, karras_grid)}) {
    CHECK(o == doctest::Approx(1).epsilon(0.15));
  }
}

TEST_CASE("heunpp2 takes three evaluations a step, two in the last but one, and one in the last") {
  const Lesson lesson;
  for (const int64_t steps : {1, 2, 3, 10}) {
    const Ode ode(*lesson.teacher);
    solve(ode, *lesson.solver, log_grid(10, 0.1, steps), normal({2, 1}) * 10);
    CHECK(ode.evaluations() / 2 == std::vector<int64_t>{1, 3}.at(steps > 1) + 3 * std::max<int64_t>(steps - 2, 0));
  }
}

TEST_CASE("heunpp2 leaves alpha = 0 and reaches sigma = 0 with finite states, in float32 too") {
  const Lesson lesson("type = \"rectified_flow\"");
  const Tensor grid = at::linspace(1, 0, 21, at::kDouble), x = normal({8, 1}, 3);
  const Tensor fine = lesson.solved(grid, x), coarse = lesson.solved(grid, x.to(at::kFloat));
  CHECK(fine.isfinite().all().item<bool>());
  CHECK((coarse.scalar_type() == at::kFloat));
  CHECK(most(fine - coarse) < 1e-3);
}

TEST_CASE("a row that joins late takes the steps of heunpp2 that it takes alone") {
  const Lesson lesson("type = \"vp_linear\"");
  const Tensor grid = at::linspace(1, 0, 13, at::kDouble), x = normal({5, 1}, 4),
               start = times({0.3, 1, 0.9, 0.95, 0.6});
  const Tensor together = lesson.solved(grid, x, start);
  for (int64_t i = 0; i < 5; ++i) {
    CHECK(most(together.narrow(0, i, 1) - lesson.solved(grid, x.narrow(0, i, 1), start.narrow(0, i, 1))) < 1e-12);
  }
}

TEST_CASE("a solver sees the times after its step, for each row, and none where a step stands alone") {
  class Looking final : public Solver {
   public:
    int order() const override { return 1; }
    int evaluations() const override { return 0; }
    bool interior() const override { return true; }
    Tensor step(const Step& step, const Tensor& x) const override {
      std::vector<double> times = {step.to.t()[0].item<double>()};
      for (int64_t ahead = 1; const auto later = step.later(ahead); ++ahead) {
        CHECK(later->t().sizes() == step.to.t().sizes());
        times.push_back(later->t()[0].item<double>());
      }
      seen.push_back(times);
      return x;
    }
    mutable std::vector<std::vector<double>> seen;
  };
  const Lesson lesson;
  const Ode ode(*lesson.teacher);
  const Looking solver;
  solve(ode, solver, times({8, 4, 2, 1}), normal({3, 1}), times({8, 3, 8}));
  CHECK(solver.seen == std::vector<std::vector<double>>{{4, 2, 1}, {2, 1}, {1}});
  solver.seen.clear();
  take_step(solver, ode, normal({2, 1}), times({8, 8}), times({4, 4}));
  CHECK(solver.seen == std::vector<std::vector<double>>{{4}});
}
