// Parts for tensors and modules of Python.
#include <ATen/ATen.h>
#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <torch/nn/module.h>

#include <retort/toolbox.h>

#include <optional>

#include "native.h"

namespace retort::python {

namespace {

// A network as it is, with gradients or without.
class AsItIs final : public CompiledNetwork {
 public:
  AsItIs(std::shared_ptr<Network> network, bool gradients) : network_(std::move(network)), gradients_(gradients) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    if (gradients_) {
      return network_->forward(x, c_noise, condition);
    }
    const at::NoGradGuard no_grad;
    return network_->forward(x, c_noise, condition);
  }

 private:
  std::shared_ptr<Network> network_;
  bool gradients_;
};

// Where the caller stands, for errors.
Origin origin_of(const std::pair<std::string, int>& place) { return {place.first, place.second}; }

// A type by its name, or a table of type and keys.
Value table_of(const py::object& spec, const Origin& origin, const std::string& kind) {
  Value out = to_value(spec, origin, kind);
  if (std::holds_alternative<std::string>(out.data)) {
    Value table;
    table.origin = origin;
    table["type"] = out;
    return table;
  }
  if (!out.is_table()) {
    throw RequestError(to_string(origin) + ": " + kind + ": is " + out.type_name() +
                       "; expected a name, a dict with \"type\" and its keys, or an object with the methods of a " +
                       kind);
  }
  return out;
}

bool is_description(const py::object& spec) { return py::isinstance<py::str>(spec) || py::isinstance<py::dict>(spec); }

ModelSpec spec_of(const std::vector<int64_t>& shape, int64_t classes, const py::dict& inputs) {
  ModelSpec out{shape, label_inputs(classes)};
  for (const auto& [name, row] : inputs) {
    const auto like = row.cast<Tensor>();
    const std::string word = py::str(name);
    if (word == retort::inputs::guidance) {
      out.inputs.push_back(guidance_input());
    } else if (classes == 0 || word != retort::inputs::labels) {
      out.inputs.push_back({.name = word, .shape = like.sizes().slice(1).vec(), .dtype = like.scalar_type()});
    }
  }
  return out;
}

// The student's model, and the same without gradients.
struct StudentModels {
  std::shared_ptr<const Model> trained, frozen;
};

class Bench {
 public:
  Bench(std::shared_ptr<Session> session, const py::object& process, std::vector<int64_t> shape, int64_t classes,
        const py::dict& inputs, const py::object& backend, const std::pair<std::string, int>& place)
      : session_(std::move(session)), origin_(origin_of(place)) {
    Toolbox::Options options;
    options.process = table_of(process, origin_, "process");
    options.spec = spec_of(shape, classes, inputs);
    options.backend = table_of(backend, origin_, "backend");
    bench_ = released([&] { return std::make_shared<Toolbox>(*session_, std::move(options)); });
  }

  Toolbox& of() const { return *bench_; }
  const Process& process() const { return bench_->process(); }

  // A part of that kind, described or brought along.
  template <class Interface, class ObjectPart>
  std::shared_ptr<Interface> make(const py::object& spec) const {
    if (is_description(spec)) {
      const Value table = table_of(spec, origin_, Interface::kind);
      return released([&] { return bench_->build<Interface>(table); });
    }
    try {
      return std::make_shared<ObjectPart>(Object(spec, ""));
    } catch (const RequestError& e) {
      throw RequestError(to_string(origin_) + ": " + Interface::kind + ": " +
                         std::string(py::str(py::type::of(spec).attr("__name__"))) + " " + e.what());
    }
  }

  std::shared_ptr<Teacher> teacher(const py::object& function, const py::dict& keys) const {
    std::shared_ptr<Teacher> out;
    const Value table = to_value(keys, origin_, "");
    const std::string name =
        "teacher " + std::string(py::str(py::getattr(function, "__name__", py::type::of(function).attr("__name__"))));
    bench_->read("teacher", table,
                 [&](Params& p) { out = std::make_shared<ObjectTeacher>(p, Object(function, ""), name); });
    return out;
  }

  StudentModels student(const py::object& module, const py::dict& keys, const Loss* loss) const {
    StudentModels out;
    const Value table = to_value(keys, origin_, "");
    bench_->read("student", table, [&](Params& p) {
      const Parametrisation form(p);
      form.check(process(), p);
      const Boundary boundary(p, form);
      const Makes makes = loss != nullptr ? loss->makes() : Makes::denoiser;
      const bool two_times = loss != nullptr && loss->needs().end_time;
      if (loss != nullptr && loss->needs().predicts && *loss->needs().predicts != form.predicts) {
        throw p.error("parametrisation", "is '" + form.name() + "'; the loss is for students that predict '" +
                                             Prediction{*loss->needs().predicts}.name() + "'");
      }
      const auto network = std::make_shared<ObjectNetwork>(Object(module, ""), std::vector<std::string>{});
      const auto model = [&](bool gradients) {
        return std::make_shared<const Model>(std::make_shared<AsItIs>(network, gradients), process(), form, boundary,
                                             makes, two_times);
      };
      out = {model(true), model(false)};
    });
    return out;
  }

 private:
  std::shared_ptr<Session> session_;
  Origin origin_;
  std::shared_ptr<Toolbox> bench_;
};

py::dict solve_with(const Teacher& teacher, const Solver& solver, const Tensor& grid, const Tensor& x,
                    const py::dict& conditions, const std::optional<Tensor>& start, int64_t seed, bool all,
                    const py::object& observer) {
  const Conditioning condition = to_conditioning(conditions);
  std::vector<Tensor> states;
  Tensor end;
  int64_t evaluations = 0;
  const Object told(observer, "");
  const bool tells = !observer.is_none();
  released([&] {
    const at::NoGradGuard no_grad;
    const Ode ode(teacher, condition);
    if (all) {
      states.push_back(x);
    }
    const Observer see = [&](double time, const Tensor& index, const Tensor& state) {
      if (all) {
        states.push_back(states.back().index_copy(0, index.to(state.device()), state));
      }
      if (tells) {
        told.with([&](const py::object& o) {
          o(time, index, state.clone());  // the solve goes on in the same memory
          return 0;
        });
      }
    };
    end = solve(ode, solver, grid, x, start.value_or(Tensor()), all || tells ? see : Observer{},
                Noise(static_cast<uint64_t>(seed)));
    evaluations = ode.evaluations();
    return 0;
  });
  py::dict out;
  out["x"] = end;
  out["evaluations"] = evaluations;
  if (all) {
    out["states"] = at::stack(states);
  }
  return out;
}

const char* spell(Role::Update update) {
  return update == Role::Update::trained ? "trained" : update == Role::Update::average ? "average" : "stage";
}

py::list roles_of(const Loss& loss, const Bench& bench) {
  py::list out;
  for (const Role& role : loss.roles()) {
    py::dict one;
    one["name"] = role.name;
    one["update"] = spell(role.update);
    one["decay"] = role.decay;
    one["every"] = role.every;
    if (role.network) {
      bench.of().backend().place(*role.network);
      one["parameters"] = role.network->module()->parameters();
    }
    out.append(one);
  }
  return out;
}

py::dict value_of(const Loss& loss, const Bench& bench, const StudentModels& student, const Model* target,
                  const Teacher* teacher, const Solver* solver, const Schedule* schedule, const Tensor& x,
                  const Conditioning& condition, int64_t seed, int64_t index, double progress, int64_t stage,
                  const std::vector<std::tuple<std::string, const StudentModels*, bool>>& roles) {
  std::vector<RoleModel> models;
  std::vector<std::shared_ptr<const Model>> own;
  for (const Role& role : loss.roles()) {
    for (const auto& [name, given, due] : roles) {
      if (name != role.name) {
        continue;
      }
      const Model* model = given == nullptr                       ? nullptr
                           : role.update == Role::Update::trained ? given->trained.get()
                                                                  : given->frozen.get();
      if (role.start == Role::Start::own) {
        own.push_back(std::make_shared<const Model>(std::make_shared<AsItIs>(role.network, true), bench.process(),
                                                    student.trained->parametrisation(), Boundary{}, loss.makes(),
                                                    loss.needs().end_time));
        model = own.back().get();
      }
      models.push_back({role.name, model, due});
    }
  }
  ModelSpec spec = bench.of().spec();
  if (loss.needs().end_time) {
    spec.inputs.push_back({.name = std::string(inputs::end_time), .dtype = at::kDouble});
  }
  spec.outputs = loss.needs().outputs;
  const LossValue value = released([&] {
    std::optional<Ode> ode;
    if (teacher != nullptr) {
      ode.emplace(*teacher, condition);
    }
    const TrainingStep step{.batch = {x, condition},
                            .student = *student.trained,
                            .target = target != nullptr ? *target : *student.frozen,
                            .ode = ode ? &*ode : nullptr,
                            .solver = solver,
                            .schedule = schedule,
                            .process = bench.process(),
                            .generator = seeded(static_cast<uint64_t>(seed), "train", static_cast<uint64_t>(index)),
                            .progress = progress,
                            .spec = spec,
                            .index = index,
                            .stage = stage,
                            .roles = models};
    return loss(step);
  });
  py::dict out, values, diagnostics;
  out["per_row"] = value.per_row.defined() ? py::cast(value.per_row) : py::none();
  out["t"] = value.t.defined() ? py::cast(value.t) : py::none();
  for (const auto& [name, of_role] : value.roles) {
    values[py::str(name)] = of_role;
  }
  for (const auto& [name, number] : value.diagnostics) {
    diagnostics[py::str(name)] = number;
  }
  out["roles"] = values;
  out["diagnostics"] = diagnostics;
  return out;
}

py::dict needs_of(const Loss& loss) {
  const Needs needs = loss.needs();
  py::dict out;
  out["teacher"] = needs.teacher;
  out["solver"] = needs.solver;
  out["schedule"] = needs.schedule;
  out["end_time"] = needs.end_time;
  out["outputs"] = needs.outputs;
  out["predicts"] = needs.predicts ? py::cast(Prediction{*needs.predicts}.name()) : py::none();
  return out;
}

}  // namespace

void add_toolbox(py::module_& module) {
  py::class_<Solver, std::shared_ptr<Solver>>(module, "SolverPart");
  py::class_<Schedule, std::shared_ptr<Schedule>>(module, "SchedulePart");
  py::class_<Teacher, std::shared_ptr<Teacher>>(module, "TeacherPart");
  py::class_<Loss, std::shared_ptr<Loss>>(module, "LossPart")
      .def("needs", &needs_of)
      .def("stages", &Loss::stages)
      .def("roles", &roles_of);
  py::class_<StudentModels>(module, "StudentModels");
  py::class_<Bench>(module, "Toolbox")
      .def(py::init<std::shared_ptr<Session>, const py::object&, std::vector<int64_t>, int64_t, const py::dict&,
                    const py::object&, const std::pair<std::string, int>&>())
      .def_property_readonly("process", &Bench::process)
      .def("times", [](const Bench& bench,
                       const Schedule& schedule) { return released([&] { return bench.of().times(schedule); }); })
      .def("solver", &Bench::make<Solver, ObjectSolver>)
      .def("schedule", &Bench::make<Schedule, ObjectSchedule>)
      .def("loss", &Bench::make<Loss, ObjectLoss>)
      .def("teacher", &Bench::teacher)
      .def("student", &Bench::student);
  module.def("solve", &solve_with);
  module.def("loss_value",
             [](const Loss& loss, const Bench& bench, const StudentModels& student, const StudentModels* target,
                const Teacher* teacher, const Solver* solver, const Schedule* schedule, const Tensor& x,
                const py::dict& condition, int64_t seed, int64_t index, double progress, int64_t stage,
                const std::vector<std::tuple<std::string, const StudentModels*, bool>>& roles) {
               return value_of(loss, bench, student, target != nullptr ? target->frozen.get() : nullptr, teacher,
                               solver, schedule, x, to_conditioning(condition), seed, index, progress, stage, roles);
             });
  module.def("sample", [](const StudentModels& student, const Tensor& times, const Tensor& x, const py::dict& condition,
                          int64_t seed, std::optional<double> gamma) {
    const Conditioning given = to_conditioning(condition);
    return released([&] { return sample(*student.frozen, times, x, given, seed, gamma); });
  });
  module.def("times_of_steps", &times_of_steps);
  module.def("prediction_name", &prediction_name);
}

}  // namespace retort::python
