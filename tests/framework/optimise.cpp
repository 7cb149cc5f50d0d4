#include "sample/optimise.h"

#include <algorithm>
#include <cmath>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// A problem whose teacher is exact.
struct Setting {
  explicit Setting(const std::string& process, const std::string& solver_name = "ddim") : host(process) {
    teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
    solver = host.make_plugin<Solver>(solver_name);
    fine = host.make_plugin<Solver>("rk45", "rtol = 1e-9\natol = 1e-9");
    ode = std::make_unique<Ode>(*teacher);
  }
  GridProblem problem(const Tensor& grid, uint64_t seed) const {
    const Tensor sigma = host.process().sigma(grid.narrow(0, 0, 1));
    return {*ode, *solver, normal({64, 1}, seed) * sigma.item<double>()};
  }
  Tensor ends(const GridProblem& of, const Tensor& grid) const {
    return solve(*ode, *fine, at::stack({grid[0], grid[-1]}), of.start);
  }

  TestHost host;
  std::shared_ptr<Teacher> teacher;
  std::shared_ptr<Solver> solver, fine;
  std::unique_ptr<Ode> ode;
};

}  // namespace

TEST_CASE("the dynamic programme finds the grid that a search through all of them finds") {
  const Setting setting("type = \"ve\"");
  const Tensor fine = times({20, 8, 4, 2, 1, 0.5, 0.2, 0.05});
  const GridProblem problem = setting.problem(fine, 1);
  for (const double weight : {1.0, 1.15, 3.0}) {
    CAPTURE(weight);
    // Errors of single steps, anew.
    std::vector<Tensor> states = {problem.start};
    for (int64_t i = 1; i < 8; ++i) {
      states.push_back(solve(*setting.ode, *setting.fine, fine.narrow(0, 0, i + 1), problem.start));
    }
    const auto error = [&](int64_t i, int64_t j) {
      const Tensor t = fine[i].expand({64}).contiguous(), s = fine[j].expand({64}).contiguous();
      const Tensor apart = take_step(*setting.solver, *setting.ode, states[static_cast<size_t>(i)], t, s) -
                           states[static_cast<size_t>(j)];
      return rms(apart) / std::hypot(1, fine[j].item<double>());
    };
    double least = 1e9;
    Tensor best;
    for (int64_t a = 1; a < 7; ++a) {
      for (int64_t b = a + 1; b < 7; ++b) {
        const double lost = error(0, a) + weight * error(a, b) + weight * weight * error(b, 7);
        if (lost < least) {
          least = lost;
          best = fine.index_select(0, at::tensor({int64_t{0}, a, b, int64_t{7}}, at::kLong));
        }
      }
    }
    CHECK(at::equal(grid_by_local_errors(problem, *setting.fine, fine, 3, weight), best));
  }
}

TEST_CASE("descent on the ends' error keeps the ends, falls strictly, and helps on noise that it has not seen") {
  // Even times suit a rectified flow, and leave little to gain.
  for (const auto& [process, gain] : {std::pair("type = \"ve\"", 0.7), std::pair("type = \"rectified_flow\"", 1.0),
                                      std::pair("type = \"vp_linear\"", 0.7)}) {
    CAPTURE(std::string(process));
    const Setting setting(process);
    const double top = setting.host.process().is_variance_exploding() ? 20 : setting.host.process().t_max();
    const Tensor grid = at::linspace(top, 0, 6, at::kDouble);
    const GridProblem seen = setting.problem(grid, 1), fresh = setting.problem(grid, 2);
    std::vector<double> errors;
    const Tensor found = grid_by_end_error(seen, setting.ends(seen, grid), grid, 12,
                                           [&](int64_t, double error) { errors.push_back(error); });
    CHECK(found.size(0) == 6);
    CHECK(found[0].item<double>() == top);
    CHECK(found[-1].item<double>() == 0);
    CHECK((found.diff() < 0).all().item<bool>());
    CHECK(std::is_sorted(errors.rbegin(), errors.rend()));
    const Tensor goal = setting.ends(fresh, grid);
    CHECK(end_error(fresh, goal, found) < gain * end_error(fresh, goal, grid));
  }
}
