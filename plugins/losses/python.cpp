/// A loss in Python: a .py file with a function loss(step) that returns a number per row, [B], or (numbers, times).
///
/// For consistency models. `step` has x [B, …], labels, grid [N + 1], progress, process, and the methods
///   draw()                  indices [B] of intervals of the grid
///   noise()                 standard normal noise like x
///   student(x, t), target(x, t)   the consistency functions; target carries no gradient
///   denoise(x, t)           the student's prediction of clean data
///   solver_step(x, t, s)    one step of the solver along the teacher's ODE
///   solve(x, t)             to the end of the grid
/// `ode` and `retort.rows(c, x)` are as for solver 'python'.
///
///     [loss]
///     type = "python"
///     file = "my_loss.py"
#include <retort/loss.h>
#include <retort/plugin.h>

#include "../shared/python.h"

using namespace retort;

#ifdef RETORT_WITH_PYTHON

namespace {

// A view of the training step for Python, valid during the call that it is given to.
struct StepView {
  const TrainingStep* step;
  Tensor grid;

  const TrainingStep& get() const { return *step; }
  const Conditioning& condition() const { return step->batch.condition; }
};

void add_step(pybind11::module_& module) {
  namespace py = pybind11;
  py::class_<StepView>(module, "Step", py::module_local())
      .def_property_readonly("x", [](const StepView& v) { return v.get().batch.x; })
      .def_property_readonly("labels",
                             [](const StepView& v) -> py::object {
                               const Tensor labels = v.condition()[inputs::labels];
                               return labels.defined() ? py::cast(labels) : py::none();
                             })
      .def_property_readonly("grid", [](const StepView& v) { return v.grid; })
      .def_property_readonly("progress", [](const StepView& v) { return v.get().progress; })
      .def_property_readonly("process", [](const StepView& v) { return python::ProcessView{&v.get().process}; })
      .def_property_readonly("ode", [](const StepView& v) { return python::OdeView{v.get().ode}; })
      .def("draw", [](const StepView& v) { return v.get().intervals(v.grid.size(0) - 1); })
      .def("noise", [](const StepView& v) { return v.get().noise(); })
      .def("student", [](const StepView& v, const Tensor& x,
                         const Tensor& t) { return v.get().student.consistency(x, t, v.condition()); })
      .def("denoise", [](const StepView& v, const Tensor& x,
                         const Tensor& t) { return v.get().student.data(x, t, v.condition()); })
      .def("target",
           [](const StepView& v, const Tensor& x, const Tensor& t) {
             const at::NoGradGuard no_grad;
             return v.get().target.consistency(x, t, v.condition());
           })
      .def("solver_step",
           [](const StepView& v, const Tensor& x, const Tensor& t, const Tensor& s) {
             const at::NoGradGuard no_grad;
             return take_step(*v.get().solver, *v.get().ode, x, t, s);
           })
      .def("solve", [](const StepView& v, const Tensor& x, const Tensor& t) {
        const at::NoGradGuard no_grad;
        return solve(*v.get().ode, *v.get().solver, v.grid, x, t);
      });
}

}  // namespace

class PythonLoss final : public Loss {
 public:
  explicit PythonLoss(Params& p) : file_(p, "loss", add_step) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }

  LossValue operator()(const TrainingStep& step) const override {
    const auto value = [](const pybind11::object& out) {
      if (pybind11::isinstance<pybind11::tuple>(out)) {
        const auto pair = pybind11::cast<pybind11::tuple>(out);
        return LossValue{pybind11::cast<Tensor>(pair[0]), pybind11::cast<Tensor>(pair[1])};
      }
      return LossValue{pybind11::cast<Tensor>(out), {}};
    };
    const LossValue out = file_.call(value, StepView{&step, step.schedule->times(step.process, step.progress)});
    if (out.per_row.dim() != 1 || out.per_row.size(0) != step.batch.x.size(0)) {
      throw Error("loss returned no number per row; expected a tensor of shape [B]");
    }
    return out;
  }

 private:
  python::File file_;
};

#else

class PythonLoss final : public Loss {
 public:
  explicit PythonLoss(Params& p) {
    p.path("file", "", "a .py file that defines loss");
    if (!p.is_describing()) {
      python::missing();
    }
  }
  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }
  LossValue operator()(const TrainingStep&) const override { python::missing(); }
};

#endif

RETORT_PLUGIN(PythonLoss, loss, python)
