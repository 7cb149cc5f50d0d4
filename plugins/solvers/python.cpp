/// A solver in Python: a .py file with a class `Solver`, or with a function step(ode, x, t, s) for single-step methods.
///
/// The class has step(self, step, x), which returns x at the step's end, and may say `order` and `evaluations` (1 by
/// default), `stochastic`, and `interior` (whether the host shall take the steps out of alpha = 0 and into sigma = 0).
/// `step` has t and s ([B] float64, each row's time and the one it goes to), start and end (the same with alpha, sigma,
/// half_log_snr, noise_level), `ode` with data(x, t), noise(x, t), velocity(x, t), predict(x, t) = (data, noise) and
/// `process`, `history` for what is kept from step to step, normal(x), brownian(x), remaining, grid, later(ahead).
/// Beside the function stand the constants `order` and `evaluations`. `retort.rows(c, x)` shapes a number per row to
/// multiply samples.
///
///     [solver]
///     type = "python"
///     file = "my_solver.py"
#include <retort/plugin.h>

#include "file.h"

using namespace retort;

class PythonSolver final : public Solver {
 public:
  explicit PythonSolver(Params& p) {
    python::Object object = python::from_file(p, "Solver", "step");
    if (!p.is_describing()) {
      made_ = python::made_of_file(p, [&] { return std::make_shared<python::ObjectSolver>(std::move(object)); });
    }
  }
  int order() const override { return made_ ? made_->order() : 1; }
  int evaluations() const override { return made_ ? made_->evaluations() : 1; }
  bool interior() const override { return made_ && made_->interior(); }
  bool stochastic() const override { return made_ && made_->stochastic(); }
  Tensor step(const Step& step, const Tensor& x) const override { return made_->step(step, x); }

 private:
  std::shared_ptr<python::ObjectSolver> made_;
};

RETORT_PLUGIN(PythonSolver, solver, python)
