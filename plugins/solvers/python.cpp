/// A solver in Python: a .py file with a function step(ode, x, t, s) and the constants `order` and `evaluations`.
///
/// x is [B, …]; t and s are [B] float64, each row's time and the one it goes to. `ode` has data(x, t), noise(x, t),
/// velocity(x, t), predict(x, t) = (data, noise), and `process` with alpha, sigma, noise_level and time_of_noise_level.
/// `retort.rows(c, x)` shapes a number per row to multiply samples. For single-step methods, to try an idea before it
/// is written in C++.
///
///     [solver]
///     type = "python"
///     file = "my_solver.py"
#include <retort/plugin.h>
#include <retort/solver.h>

#include "../shared/python.h"

using namespace retort;

#ifdef RETORT_WITH_PYTHON

class PythonSolver final : public Solver {
 public:
  explicit PythonSolver(Params& p)
      : file_(p, "step", [](pybind11::module_&) {}),
        order_(file_.constant(p, "order", 1)),
        evaluations_(file_.constant(p, "evaluations", 1)) {}

  int order() const override { return order_; }
  int evaluations() const override { return evaluations_; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const at::NoGradGuard no_grad;
    const auto tensor = [](const pybind11::object& out) { return pybind11::cast<Tensor>(out); };
    const Tensor next = file_.call(tensor, python::OdeView{&step.ode}, x, step.from.t(), step.to.t());
    if (next.sizes() != x.sizes()) {
      throw Error("step returned another shape than x's");
    }
    return next.to(x.options());
  }

 private:
  python::File file_;
  int order_, evaluations_;
};

#else

class PythonSolver final : public Solver {
 public:
  explicit PythonSolver(Params& p) {
    p.path("file", "", "a .py file that defines step");
    if (!p.is_describing()) {
      python::missing();
    }
  }
  int order() const override { return 1; }
  int evaluations() const override { return 1; }
  Tensor step(const Step&, const Tensor& x) const override { return x; }
};

#endif

RETORT_PLUGIN(PythonSolver, solver, python)
