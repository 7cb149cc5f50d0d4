// The classes that Python sees.
#include <ATen/ATen.h>
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <retort/loss.h>
#include <retort/metric.h>

#include <retort/solver.h>

#include "python.h"

namespace retort::python {

namespace {

// It is written to.
struct HistoryView {
  std::function<History&()> of;
};

void add_process(py::module_& module) {
  module.def("rows", &retort::rows, py::arg("c"), py::arg("x"),
             "A number per row, c: [B], shaped so that it multiplies whole samples x: [B, ...].");
  py::class_<Process>(module, "Process",
                      "The forward process x_t = alpha(t) x_0 + sigma(t) n. Times are float64 tensors [B].")
      .def_property_readonly("name", &Process::name)
      .def_property_readonly("t_max", &Process::t_max, "The noisiest time.")
      .def_property_readonly("steps", &Process::steps, "The steps of its table; 0 where it has none.")
      .def("alpha", &Process::alpha, py::arg("t"))
      .def("sigma", &Process::sigma, py::arg("t"))
      .def("d_alpha", &Process::d_alpha, py::arg("t"), "The derivative of alpha.")
      .def("d_sigma", &Process::d_sigma, py::arg("t"), "The derivative of sigma.")
      .def("half_log_snr", &Process::lambda, py::arg("t"), "log(alpha / sigma), called lambda in papers.")
      .def("time", &Process::time, py::arg("half_log_snr"), "The time of a half log-SNR.")
      .def("noise_level", &Process::noise_level, py::arg("t"), "sigma / alpha.")
      .def("time_of_noise_level", &Process::time_of_noise_level, py::arg("level"))
      .def("add_noise", &Process::add_noise, py::arg("x0"), py::arg("n"), py::arg("t"),
           "x_t for clean data x0: [B, ...], noise n: [B, ...] and times t: [B].")
      .def("__repr__", [](const Process& p) { return "<retort.Process '" + p.name() + "'>"; });
}

void add_ode(py::module_& module) {
  using V = View<Ode>;
  py::class_<V>(module, "Ode", "The teacher's probability-flow ODE under a batch's conditions. No gradients flow.")
      .def_property_readonly("process", [](const V& v) { return v->process(); })
      .def_property_readonly("condition", [](const V& v) { return to_python(v->condition()); })
      .def_property_readonly(
          "evaluations", [](const V& v) { return v->evaluations(); },
          "Teacher evaluations so far: one per row, two under guidance.")
      .def(
          "data", [](const V& v, const Tensor& x, const Tensor& t) { return v->data(x, t); }, py::arg("x"),
          py::arg("t"), "The prediction of clean data.")
      .def(
          "noise", [](const V& v, const Tensor& x, const Tensor& t) { return v->noise(x, t); }, py::arg("x"),
          py::arg("t"), "The prediction of the noise.")
      .def(
          "velocity", [](const V& v, const Tensor& x, const Tensor& t) { return v->velocity(x, t); }, py::arg("x"),
          py::arg("t"), "dx/dt.")
      .def(
          "predict",
          [](const V& v, const Tensor& x, const Tensor& t) {
            const Ode::Prediction p = v->predict(x, t);
            return py::make_tuple(p.data, p.noise);
          },
          py::arg("x"), py::arg("t"), "(data, noise), from one evaluation.");
}

void add_step(py::module_& module) {
  py::class_<Times>(module, "Times", "Times of a batch, and what formulas need of them: float64 [B] each.")
      .def_property_readonly("t", &Times::t)
      .def_property_readonly("alpha", &Times::alpha)
      .def_property_readonly("sigma", &Times::sigma)
      .def_property_readonly("half_log_snr", &Times::lambda)
      .def_property_readonly("noise_level", &Times::noise_level)
      .def_property_readonly("process", &Times::process);
  py::class_<HistoryView>(module, "History", "What a solver keeps between steps: tensors [B, ...] by name.")
      .def_property_readonly(
          "steps", [](const HistoryView& v) { return v.of().steps; },
          "[B] int64: how many steps each row has behind it.")
      .def("__contains__",
           [](const HistoryView& v, const std::string& name) {
             const auto found = v.of().state.find(name);
             return found != v.of().state.end() && found->second.defined();
           })
      .def("__getitem__",
           [](const HistoryView& v, const std::string& name) {
             const auto found = v.of().state.find(name);
             if (found == v.of().state.end() || !found->second.defined()) {
               throw py::key_error(name);
             }
             return found->second;
           })
      .def("__setitem__",
           [](const HistoryView& v, const std::string& name, const Tensor& rows) { v.of()[name] = rows; })
      .def(
          "take",
          [](const HistoryView& v, const std::string& name, const std::function<Tensor(const Tensor&)>& compute) {
            return v.of().take(name, compute);
          },
          py::arg("name"), py::arg("compute"),
          "What the step before has left; for rows without it, compute(index), index: [b] int64. The slot is empty "
          "afterwards.");
  using V = View<Step>;
  py::class_<V>(module, "SolverStep", "What one step of a solver is given.")
      .def_property_readonly("ode", [](const V& v) { return View<Ode>{[v]() -> const Ode& { return v->ode; }}; })
      .def_property_readonly(
          "start", [](const V& v) { return v->from; }, "Times that the rows are at.")
      .def_property_readonly(
          "end", [](const V& v) { return v->to; }, "Times that they go to.")
      .def_property_readonly(
          "t", [](const V& v) { return v->from.t(); }, "start.t: [B] float64.")
      .def_property_readonly(
          "s", [](const V& v) { return v->to.t(); }, "end.t: [B] float64.")
      .def_property_readonly("history",
                             [](const V& v) { return HistoryView{[v]() -> History& { return v->history; }}; })
      .def_property_readonly(
          "remaining", [](const V& v) { return v->remaining; }, "Intervals to the end of the grid, this one counted.")
      .def_property_readonly(
          "grid", [](const V& v) -> py::object { return v->grid.defined() ? py::cast(v->grid) : py::none(); },
          "[N + 1] float64, all times; None where a step stands alone.")
      .def(
          "later", [](const V& v, int64_t ahead) { return v->later(ahead); }, py::arg("ahead") = 1,
          "The Times so many intervals behind `end`, or None.")
      .def(
          "normal", [](const V& v, const Tensor& x, int64_t draw) { return v->noise.normal(x, draw); }, py::arg("x"),
          py::arg("draw") = 0, "Standard normal numbers like x, of (seed, row, step) alone.")
      .def(
          "brownian",
          [](const V& v, const Tensor& x, double power) { return v->noise.brownian(x, v->from, v->to, power); },
          py::arg("x"), py::arg("power") = 1.0,
          "Standard normal numbers like x, cut from one Brownian path of each row.");
}

void add_model(py::module_& module) {
  using V = View<Model>;
  const auto given = [](const py::dict& condition) { return to_conditioning(condition); };
  const auto function = [given](Tensor (Model::*f)(const Tensor&, const Tensor&, const Conditioning&) const) {
    return [f, given](const V& v, const Tensor& x, const Tensor& t, const py::kwargs& condition) {
      return ((*v).*f)(x, t, given(condition));
    };
  };
  py::class_<V>(module, "Model", "A network together with what its output means. x: [B, ...]; t: [B] float64.")
      .def_property_readonly("process", [](const V& v) { return v->process(); })
      .def("raw", function(&Model::raw), py::arg("x"), py::arg("t"), "The network's output.")
      .def("data", function(&Model::data), py::arg("x"), py::arg("t"), "The predicted clean data D(x, t).")
      .def("consistency", function(&Model::consistency), py::arg("x"), py::arg("t"),
           "The consistency function f(x, t).")
      .def(
          "jump",
          [given](const V& v, const Tensor& x, const Tensor& t, const Tensor& s, const py::kwargs& condition) {
            return v->jump(x, t, s, given(condition));
          },
          py::arg("x"), py::arg("t"), py::arg("s"), "The state at time s: [B] of the way through x at time t.")
      .def(
          "endpoint",
          [given](const V& v, const Tensor& x, const Tensor& t, const py::kwargs& condition) {
            return v->endpoint(x, t, given(condition));
          },
          py::arg("x"), py::arg("t"), "Where the way through x ends, as the model says.")
      .def(
          "tangent",
          [given](const V& v, const Tensor& x, const Tensor& t, const Tensor& dx, const Tensor& dt,
                  const py::kwargs& condition) {
            const Model::Tangent out = v->tangent(x, t, given(condition), dx, dt);
            return py::make_tuple(out.output, out.derivative);
          },
          py::arg("x"), py::arg("t"), py::arg("dx"), py::arg("dt"),
          "(raw output, its derivative along (dx, dt)), in forward mode; the derivative carries no gradient.");
}

const Conditioning& condition_of(const View<TrainingStep>& v) { return v->batch.condition; }

Tensor grid_of(const View<TrainingStep>& v) {
  if (v->schedule == nullptr) {
    throw Error("there is no schedule; expected needs = {\"schedule\": True}");
  }
  return v->schedule->times(v->process, v->progress);
}

const Solver& solver_of(const View<TrainingStep>& v) {
  if (v->solver == nullptr || v->ode == nullptr) {
    throw Error("there is no solver or no teacher; expected needs = {\"teacher\": True, \"solver\": True}");
  }
  return *v->solver;
}

void add_training_step(py::module_& module) {
  using V = View<TrainingStep>;
  py::class_<V>(module, "Step", "Everything that one training step may look at.")
      .def_property_readonly(
          "x", [](const V& v) { return v->batch.x; }, "Clean data [B, ...].")
      .def_property_readonly("labels",
                             [](const V& v) -> py::object {
                               const Tensor labels = condition_of(v)[inputs::labels];
                               return labels.defined() ? py::cast(labels) : py::none();
                             })
      .def_property_readonly(
          "condition", [](const V& v) { return to_python(condition_of(v)); },
          "Everything that the batch gives beside x, by name.")
      .def_property_readonly("grid", &grid_of, "[N + 1] float64, the schedule's times, falling.")
      .def_property_readonly(
          "progress", [](const V& v) { return v->progress; }, "From 0 towards 1.")
      .def_property_readonly("index", [](const V& v) { return v->index; })
      .def_property_readonly("stage", [](const V& v) { return v->stage; })
      .def_property_readonly("process", [](const V& v) { return v->process; })
      .def_property_readonly("ode",
                             [](const V& v) {
                               if (v->ode == nullptr) {
                                 throw Error("there is no teacher; expected needs = {\"teacher\": True}");
                               }
                               return View<Ode>{[v]() -> const Ode& { return *v->ode; }};
                             })
      .def(
          "draw", [](const V& v) { return v->intervals(grid_of(v).size(0) - 1); },
          "Indices [B] int64 of intervals of the grid, as the schedule draws them.")
      .def(
          "noise", [](const V& v) { return v->noise(); }, "Standard normal noise like x.")
      .def(
          "uniform", [](const V& v) { return v->uniform(); }, "[B] float64 in [0, 1).")
      .def(
          "normal", [](const V& v) { return v->normal(); }, "[B] float64, standard normal.")
      .def(
          "student",
          [](const V& v, const Tensor& x, const Tensor& t) { return v->student.consistency(x, t, condition_of(v)); },
          py::arg("x"), py::arg("t"), "The student's consistency function, differentiable.")
      .def(
          "denoise",
          [](const V& v, const Tensor& x, const Tensor& t) { return v->student.data(x, t, condition_of(v)); },
          py::arg("x"), py::arg("t"), "The student's prediction of clean data.")
      .def(
          "target",
          [](const V& v, const Tensor& x, const Tensor& t) {
            const at::NoGradGuard no_grad;
            return v->target.consistency(x, t, condition_of(v));
          },
          py::arg("x"), py::arg("t"), "The target's consistency function, without gradients.")
      .def_property_readonly("model",
                             [](const V& v) { return View<Model>{[v]() -> const Model& { return v->student; }}; })
      .def_property_readonly("target_model",
                             [](const V& v) { return View<Model>{[v]() -> const Model& { return v->target; }}; })
      .def(
          "role",
          [](const V& v, const std::string& name) {
            return View<Model>{[v, name]() -> const Model& { return v->role(name); }};
          },
          py::arg("name"), "The model of a network that the loss keeps beside the student.")
      .def(
          "due", [](const V& v, const std::string& name) { return v->due(name); }, py::arg("name"))
      .def(
          "solver_step",
          [](const V& v, const Tensor& x, const Tensor& t, const Tensor& s) {
            const at::NoGradGuard no_grad;
            return take_step(solver_of(v), *v->ode, x, t, s);
          },
          py::arg("x"), py::arg("t"), py::arg("s"), "One step of the solver along the teacher's ODE.")
      .def(
          "solve",
          [](const V& v, const Tensor& x, const Tensor& t) {
            const at::NoGradGuard no_grad;
            return solve(*v->ode, solver_of(v), grid_of(v), x, t);
          },
          py::arg("x"), py::arg("t"), "From t: [B] to the end of the grid.")
      .def(
          "pair",
          [](const V& v) {
            const NoiseDataPair pair = v->pair();
            return py::make_tuple(pair.noise, pair.data, pair.t);
          },
          "(noise, data, t): fresh noise, solved to the end.");
}

void add_evaluation(py::module_& module) {
  using V = View<Evaluation>;
  const auto item = [](Tensor (Evaluation::*f)() const) {
    return [f](const V& v) -> py::object {
      const Tensor out = ((*v).*f)();
      return out.defined() ? py::cast(out) : py::none();
    };
  };
  py::class_<V>(module, "Evaluation", "What is being measured. Each item is computed when it is first asked for.")
      .def("samples", item(&Evaluation::samples), "[n, ...] of the model that is measured, or of the teacher.")
      .def("reference", item(&Evaluation::reference), "[m, ...] what samples are compared with.")
      .def("sample_features", item(&Evaluation::sample_features), "[n, F]")
      .def("reference_features", item(&Evaluation::reference_features), "[m, F]")
      .def(
          "features", [](const V& v, const Tensor& x) { return v->features(x); }, py::arg("x"))
      .def(
          "start",
          [](const V& v) {
            const Batch start = v->start();
            return py::make_tuple(start.x, to_python(start.condition));
          },
          "(noise [n, ...], conditions) that the samples began from.")
      .def(
          "data",
          [](const V& v, int64_t n) {
            const Batch data = v->data(n);
            return py::make_tuple(data.x, to_python(data.condition));
          },
          py::arg("n"), "(clean data, conditions) of the test split, n at most.")
      .def("endpoints", item(&Evaluation::endpoints),
           "Ends of the teacher's ODE from the same noise; None without one.")
      .def("sample_states", item(&Evaluation::sample_states), "The latents of the samples, or the samples.")
      .def_property_readonly(
          "student_steps", [](const V& v) { return v->student_steps(); }, "Steps of the sampler; 0 for the teacher.")
      .def_property_readonly(
          "model",
          [](const V& v) -> py::object {
            return v->model() == nullptr ? py::none()
                                         : py::cast(View<Model>{[v]() -> const Model& { return *v->model(); }});
          },
          "None in the teacher's own row.")
      .def_property_readonly("ode", [](const V& v) -> py::object {
        return v->ode() == nullptr ? py::none() : py::cast(View<Ode>{[v]() -> const Ode& { return *v->ode(); }});
      });
}

}  // namespace

py::module_& classes() {
  static py::module_* const made = [] {
    auto* module = new py::module_(py::reinterpret_steal<py::module_>(PyModule_New("retort")));  // never destroyed
    add_process(*module);
    add_ode(*module);
    add_step(*module);
    add_model(*module);
    add_training_step(*module);
    add_evaluation(*module);
    return module;
  }();
  return *made;
}

}  // namespace retort::python
