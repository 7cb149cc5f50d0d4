#include "objects.h"

#include <ATen/ATen.h>
#include <pybind11/stl.h>
#include <torch/csrc/autograd/python_variable.h>

#include <retort/named_weights.h>

#include <algorithm>
#include <optional>
#include <set>

namespace retort::python {

namespace {

// Attributes are read when the object is made, so what is wrong with them is a wrong request.
template <class F>
auto read(const Object& object, F f) {
  const py::gil_scoped_acquire lock;
  try {
    return f(object.of());
  } catch (py::error_already_set& e) {
    throw RequestError(spell(e));
  }
}

template <class T>
T read(const Object& object, const char* name, T otherwise) {
  return read(object, [&](const py::object& o) { return attribute<T>(o, name, std::move(otherwise)); });
}

bool is_module(const Object& object) {
  return read(object, [](const py::object& o) { return PyModule_Check(o.ptr()) != 0; });
}

std::vector<std::pair<std::string, double>> numbers_of(const py::handle& dict) {
  std::vector<std::pair<std::string, double>> out;
  for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(dict)) {
    out.emplace_back(py::str(name), py::float_(py::reinterpret_borrow<py::object>(value)).cast<double>());
  }
  return out;
}

const char* name_of(Split split) { return split == Split::train ? "train" : "test"; }

}  // namespace

bool Object::has(const char* name) const {
  const py::gil_scoped_acquire lock;
  return py::hasattr(of(), name);
}

void Object::require(const char* method, const char* signature) const {
  const py::gil_scoped_acquire lock;
  if (!py::hasattr(of(), method) || PyCallable_Check(py::object(of().attr(method)).ptr()) == 0) {
    throw RequestError("has no method '" + std::string(method) + "'; expected " + signature);
  }
}

Tensor Object::tensor(const std::function<py::object(const py::object&)>& call) const {
  return with([&](const py::object& object) {
    const py::object out = call(object);
    if (!THPVariable_Check(out.ptr())) {
      throw Error((file_.empty() ? "" : file_ + ": ") + "its function returned something else than a tensor: " +
                  std::string(py::str(py::type::of(out).attr("__name__"))));
    }
    return out.cast<Tensor>();
  });
}

ObjectSolver::ObjectSolver(Object object)
    : object_(std::move(object)),
      of_ode_(is_module(object_)),
      order_(read(object_, "order", 1)),
      evaluations_(read(object_, "evaluations", 1)),
      interior_(read(object_, "interior", false)),
      stochastic_(read(object_, "stochastic", false)) {
  object_.require("step", "step(self, step, x)");
  for (const char* constant : {"order", "evaluations"}) {
    if (of_ode_ && !object_.has(constant)) {
      throw RequestError("does not say '" + std::string(constant) + " = …'");
    }
  }
}

Tensor ObjectSolver::step(const Step& step, const Tensor& x) const {
  const at::NoGradGuard no_grad;
  const Tensor next = object_.tensor([&](const py::object& o) -> py::object {
    if (of_ode_) {
      const Lending<Ode> ode(step.ode);
      return o.attr("step")(ode.view(), x, step.from.t(), step.to.t());
    }
    const Lending<Step> lent(step);
    return o.attr("step")(lent.view(), x);
  });
  if (next.sizes() != x.sizes()) {
    throw Error("step returned another shape than x's");
  }
  return next.to(x.options());
}

ObjectSchedule::ObjectSchedule(Object object)
    : object_(std::move(object)), changes_(read(object_, "changes", false)), draws_(object_.has("draw")) {
  object_.require("times", "times(self, process, progress)");
}

Tensor ObjectSchedule::times(const Process& process, double progress) const {
  const Tensor out = object_.with([&](const py::object& o) {
    const py::object times = o.attr("times")(process, progress);
    return py::module_::import("torch").attr("as_tensor")(times).cast<Tensor>().to(at::kCPU, at::kDouble).contiguous();
  });
  if (out.dim() != 1 || out.size(0) < 2) {
    throw Error("times returned no list of two times or more");
  }
  return out;
}

Tensor ObjectSchedule::draw(int64_t intervals, int64_t count, at::Generator generator) const {
  if (!draws_) {
    return Schedule::draw(intervals, count, std::move(generator));
  }
  // A generator is not passed on: numbers in [0, 1) are, from which the choice is to be made.
  const Tensor uniform = at::rand({count}, std::move(generator), at::TensorOptions().dtype(at::kDouble));
  const Tensor out =
      object_.tensor([&](const py::object& o) -> py::object { return o.attr("draw")(intervals, uniform); });
  if (out.dim() != 1 || out.size(0) != count || out.is_floating_point() || out.min().item<int64_t>() < 0 ||
      out.max().item<int64_t>() >= intervals) {
    throw Error("draw returned no indices [" + std::to_string(count) + "] in 0 to " + std::to_string(intervals - 1));
  }
  return out.to(at::kLong);
}

namespace {

Makes makes_of(const std::string& word) {
  static const std::map<std::string, Makes> words = {
      {"denoiser", Makes::denoiser},     {"consistency", Makes::consistency},
      {"flow_map", Makes::flow_map},     {"generator", Makes::generator},
      {"classifier", Makes::classifier}, {"autoencoder", Makes::autoencoder},
      {"embedding", Makes::embedding},   {"policy", Makes::policy}};
  const auto found = words.find(word);
  if (found == words.end()) {
    std::vector<std::string> names;
    for (const auto& [name, makes] : words) {
      names.push_back(name);
    }
    throw RequestError("its 'makes' is '" + word + "'" + did_you_mean(word, names));
  }
  return found->second;
}

Predicts predicts_of(const std::string& word) {
  static const std::map<std::string, Predicts> words = {{"noise", Predicts::noise},
                                                        {"v", Predicts::v},
                                                        {"data", Predicts::data},
                                                        {"edm", Predicts::edm},
                                                        {"flow", Predicts::flow}};
  const auto found = words.find(prediction_name(word));
  if (found == words.end()) {
    throw RequestError("needs[\"predicts\"] is '" + word + "'; expected noise, v, data, edm or flow");
  }
  return found->second;
}

// Every key of a dict is one of those.
void check_keys(const py::dict& dict, const std::string& what, const std::vector<std::string>& known) {
  for (const auto& [key, value] : dict) {
    const std::string name = py::str(key);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw RequestError(what + " knows no '" + name + "'" + did_you_mean(name, known));
    }
  }
}

template <class T>
void take(const py::dict& dict, const char* key, T& into) {
  if (dict.contains(key)) {
    into = py::cast<T>(py::object(dict[key]));
  }
}

Needs needs_of(const py::object& object) {
  if (!py::hasattr(object, "needs")) {
    return {.teacher = true, .solver = true, .schedule = true};
  }
  const auto dict = py::cast<py::dict>(py::object(object.attr("needs")));
  check_keys(dict, "needs", {"teacher", "solver", "schedule", "end_time", "predicts", "outputs"});
  Needs out;
  take(dict, "teacher", out.teacher);
  take(dict, "solver", out.solver);
  take(dict, "schedule", out.schedule);
  take(dict, "end_time", out.end_time);
  take(dict, "outputs", out.outputs);
  if (dict.contains("predicts")) {
    out.predicts = predicts_of(py::str(dict["predicts"]));
  }
  return out;
}

std::vector<Role> roles_of(const py::object& object) {
  std::vector<Role> out;
  for (const py::dict& dict : attribute<std::vector<py::dict>>(object, "roles", {})) {
    check_keys(dict, "a role", {"name", "start", "update", "decay", "every", "learning_rate"});
    Role role;
    std::string start = "student", update = "trained";
    take(dict, "name", role.name);
    take(dict, "start", start);
    take(dict, "update", update);
    take(dict, "decay", role.decay);
    take(dict, "every", role.every);
    take(dict, "learning_rate", role.learning_rate);
    if (role.name.empty() || (start != "student" && start != "teacher") ||
        (update != "trained" && update != "average" && update != "stage")) {
      throw RequestError(
          "a role has a name, start \"student\" or \"teacher\", and update \"trained\", \"average\" or \"stage\"");
    }
    role.start = start == "teacher" ? Role::Start::teacher : Role::Start::student;
    role.update = update == "average" ? Role::Update::average
                  : update == "stage" ? Role::Update::stage
                                      : Role::Update::trained;
    out.push_back(role);
  }
  return out;
}

LossValue value_of(const py::object& out) {
  if (py::isinstance<py::tuple>(out)) {
    const auto pair = py::cast<py::tuple>(out);
    return {py::cast<Tensor>(pair[0]), py::cast<Tensor>(pair[1])};
  }
  if (!py::isinstance<py::dict>(out)) {
    return {py::cast<Tensor>(out), {}};
  }
  const auto dict = py::cast<py::dict>(out);
  check_keys(dict, "a loss's dict", {"per_row", "t", "roles", "diagnostics"});
  LossValue value;
  take(dict, "per_row", value.per_row);
  take(dict, "t", value.t);
  take(dict, "roles", value.roles);
  take(dict, "diagnostics", value.diagnostics);
  return value;
}

}  // namespace

ObjectLoss::ObjectLoss(Object object) : object_(std::move(object)) {
  read(object_, [&](const py::object& o) {
    makes_ = makes_of(attribute<std::string>(o, "makes", "consistency"));
    needs_ = needs_of(o);
    roles_ = roles_of(o);
    stages_ = attribute<int64_t>(o, "stages", 1);
    return 0;
  });
}

LossValue ObjectLoss::operator()(const TrainingStep& step) const {
  LossValue out = object_.with([&](const py::object& o) {
    const Lending<TrainingStep> lent(step);
    return value_of(PyModule_Check(o.ptr()) != 0 ? o.attr("loss")(lent.view()) : o(lent.view()));
  });
  if (step.due("student") &&
      (!out.per_row.defined() || out.per_row.dim() != 1 || out.per_row.size(0) != step.batch.x.size(0))) {
    throw Error("loss returned no number per row; expected a tensor of shape [B]");
  }
  return out;
}

ObjectDataset::ObjectDataset(Object object)
    : object_(std::move(object)),
      shape_(read(object_, "shape", std::vector<int64_t>{})),
      classes_(read(object_, "classes", int64_t{0})),
      inputs_(label_inputs(classes_)),
      names_(read(object_, "class_names", std::vector<std::string>{})) {
  if (shape_.empty()) {
    throw RequestError("does not say 'shape = …', the shape of one sample");
  }
  object_.require("size", "size(self, split)");
  object_.require("batch", "batch(self, split, index)");
  using Shapes = std::map<std::string, std::vector<int64_t>>;
  for (const auto& [name, shape] : read(object_, "inputs", Shapes{})) {
    inputs_.push_back({.name = name, .shape = shape});
  }
}

int64_t ObjectDataset::size(Split split) const {
  return object_.with([&](const py::object& o) { return py::cast<int64_t>(o.attr("size")(name_of(split))); });
}

Batch ObjectDataset::batch(Split split, const Tensor& index) const {
  Batch out = object_.with([&](const py::object& o) {
    const py::object made = o.attr("batch")(name_of(split), index);
    if (!py::isinstance<py::tuple>(made)) {
      return Batch{py::cast<Tensor>(made), {}};
    }
    const auto pair = py::cast<py::tuple>(made);
    Batch batch{py::cast<Tensor>(pair[0]), {}};
    if (py::isinstance<py::dict>(pair[1])) {
      batch.condition = to_conditioning(pair[1]);
    } else {
      batch.condition.set(retort::inputs::labels, py::cast<Tensor>(pair[1]));
    }
    return batch;
  });
  std::vector<int64_t> wanted = shape_;
  wanted.insert(wanted.begin(), index.size(0));
  if (out.x.sizes() != at::IntArrayRef(wanted)) {
    throw Error("batch returned samples of shape " + c10::str(out.x.sizes()) + "; expected " +
                c10::str(at::IntArrayRef(wanted)));
  }
  out.x = out.x.to(at::kFloat);
  for (const Input& input : inputs_) {
    if (!out.condition.has(input.name)) {
      throw Error("batch returned no '" + input.name + "'");
    }
    out.condition.set(input.name, out.condition[input.name].to(input.classes > 0 ? at::kLong : at::kFloat));
  }
  return out;
}

Tensor ObjectDataset::pictures(const Tensor& x) const {
  return object_.has("pictures")
             ? object_.tensor([&](const py::object& o) -> py::object { return o.attr("pictures")(x); })
             : Dataset::pictures(x);
}

ObjectMetric::ObjectMetric(Object object)
    : object_(std::move(object)),
      name_(read(object_,
                 [](const py::object& o) {
                   const std::string of_class = py::str(py::type::of(o).attr("__name__"));
                   return attribute<std::string>(o, "name", PyModule_Check(o.ptr()) != 0 ? "measure" : of_class);
                 })),
      ideal_(
          read(object_, [](const py::object& o) { return numbers_of(attribute<py::dict>(o, "ideal", py::dict())); })),
      symmetric_(read(object_, "symmetric", false)) {
  object_.require("measure", "measure(self, evaluation)");
}

Measurement ObjectMetric::measure(const Evaluation& evaluation) const {
  return object_.with([&](const py::object& o) {
    const Lending<Evaluation> lent(evaluation);
    const py::object out = o.attr("measure")(lent.view());
    Measurement measured;
    if (py::isinstance<py::dict>(out)) {
      measured.values = numbers_of(out);
    } else if (!out.is_none()) {
      measured.values = {{name_, py::float_(out).cast<double>()}};
    }
    return measured;
  });
}

namespace {

// What a module or function answers: a tensor, the first of a tuple, or `sample` of an object of diffusers.
Tensor answer_of(const Object& object, const Tensor& x, const Tensor& time, const Conditioning& given) {
  return object.tensor([&](const py::object& o) -> py::object {
    py::object out = o(x, time, **to_python(given));
    if (py::isinstance<py::tuple>(out)) {
      out = py::cast<py::tuple>(out)[0];
    }
    return py::hasattr(out, "sample") && !THPVariable_Check(out.ptr()) ? py::object(out.attr("sample")) : out;
  });
}

// The names of the arguments that it can be given by name; nothing where it takes any.
std::optional<std::set<std::string>> arguments_of(const Object& object) {
  return read(object, [](const py::object& o) -> std::optional<std::set<std::string>> {
    const py::module_ inspect = py::module_::import("inspect");
    const py::object called = py::hasattr(o, "forward") ? py::object(o.attr("forward")) : o;
    py::object signature;
    try {
      signature = inspect.attr("signature")(called);
    } catch (py::error_already_set&) {  // what is not Python's has none
      return {};
    }
    std::set<std::string> out;
    for (const auto& parameter : signature.attr("parameters").attr("values")()) {
      if (parameter.attr("kind").equal(inspect.attr("Parameter").attr("VAR_KEYWORD"))) {
        return {};
      }
      out.insert(py::str(parameter.attr("name")));
    }
    return out;
  });
}

}  // namespace

ObjectTeacher::ObjectTeacher(Params& p, Object object, const std::string& name)
    : ModuleTeacher(p), object_(std::move(object)) {
  if (p.is_describing()) {
    return;
  }
  const std::optional<std::set<std::string>> named = arguments_of(object_);
  std::vector<Input> taken;
  for (const Input& input : known_inputs(p)) {
    // A function of **anything is given what there is, but no weight of guidance.
    if (named ? named->contains(input.name) : input.name != retort::inputs::guidance) {
      taken.push_back(input);
    }
  }
  takes(std::move(taken), name, p);
}

Tensor ObjectTeacher::ask(const Tensor& x, const Tensor& time, const Conditioning& given) const {
  const at::NoGradGuard no_grad;
  const at::ScalarType type = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor out = answer_of(object_, x, time.to(x.device(), type), given);
  if (out.sizes() != x.sizes()) {
    throw Error("the teacher answered with shape " + c10::str(out.sizes()) + " to samples of shape " +
                c10::str(x.sizes()));
  }
  return out.to(x.scalar_type());
}

ObjectNetwork::ObjectNetwork(Object object, std::vector<std::string> inputs)
    : object_(std::move(object)), inputs_(std::move(inputs)) {
  auto weights = std::make_shared<NamedWeights>();
  read(object_, [&](const py::object& o) {
    if (!py::hasattr(o, "named_parameters")) {
      return 0;  // a function, without weights
    }
    for (const auto& entry : o.attr("named_parameters")()) {
      const auto [name, weight] = py::cast<std::pair<std::string, Tensor>>(entry);
      weights->add_parameter(name, weight, weight.requires_grad());
    }
    for (const auto& entry : o.attr("named_buffers")()) {
      const auto [name, buffer] = py::cast<std::pair<std::string, Tensor>>(entry);
      weights->add_buffer(name, buffer);
    }
    return 0;
  });
  weights_ = std::move(weights);
}

Tensor ObjectNetwork::forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) {
  const bool is_double = c_noise.defined() && x.scalar_type() == at::kDouble;
  return answer_of(object_, x, is_double ? c_noise.to(at::kDouble) : c_noise, condition);
}

Tensor ObjectNetwork::features(const Tensor& x) {
  if (!object_.has("features")) {
    return Network::features(x);
  }
  return object_.tensor([&](const py::object& o) -> py::object { return o.attr("features")(x); });
}

std::vector<std::string> listed(const Object& object, const char* name, std::vector<std::string> otherwise) {
  return read(object, name, std::move(otherwise));
}

py::dict to_python(const ModelSpec& spec) {
  py::dict inputs, out;
  for (const Input& input : spec.inputs) {
    inputs[py::str(input.name)] = input.shape;
  }
  out["shape"] = spec.shape;
  out["classes"] = spec.classes();
  out["inputs"] = inputs;
  out["outputs"] = spec.outputs;
  return out;
}

}  // namespace retort::python
