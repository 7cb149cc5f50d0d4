#include "retort/module_teacher.h"

#include <ATen/ATen.h>

#include "retort/guidance.h"

namespace retort {

namespace {
constexpr double least_level = 1e-4, most_level = 1e4;  // finite at sigma = 0 and alpha = 0, as EDM's label is
}  // namespace

ModuleInput::ModuleInput(Params& p)
    : input_(p.choice("input", "auto", {"auto", "x", "y", "c_in"},
                      "what the module takes for a sample: x; y = x / alpha; c_in: EDM's factor of y; auto: as "
                      "preconditioning says")),
      time_(p.choice(
          "time", "auto", {"auto", "step", "t", "fraction", "reversed", "sigma", "log_sigma", "c_noise", "log_snr"},
          "what the module takes for a time. With sigma the noise level of y = x / alpha, auto: as preconditioning "
          "says; step: 0 to T - 1, of a process that is a table; t: the process's own; fraction: t / t_max; reversed: "
          "1 - t / t_max; c_noise: log(sigma) / 4; log_snr: -2 log(sigma)")) {}

void ModuleInput::check(const Process& process, const Params& p) const {
  if (time_ == "step" && process.steps() == 0) {
    throw p.error("time", "\"step\" counts the steps of a table, which process '" + process.name() +
                              "' has none of; expected a [process] such as 'betas', or another time");
  }
  if (time_ == "reversed" && process.is_variance_exploding()) {
    throw p.error("time", "\"reversed\" is 1 - t / t_max, and process 've' has no end; expected a [process] that has");
  }
}

Tensor ModuleInput::factor(const Process& process, const Parametrisation& form, const Tensor& t) const {
  if (input_ == "y") {
    return at::minimum(1 / process.alpha(t), most_level / process.sigma(t));
  }
  if (input_ == "c_in") {
    return Preconditioning{Sees::edm, form.sigma_data}.c_in(process, t);
  }
  return input_ == "x" ? Tensor() : form.c_in(process, t);
}

Tensor ModuleInput::time(const Process& process, const Parametrisation& form, const Tensor& t) const {
  if (time_ == "auto" || time_ == "step") {
    return form.c_noise(process, t);
  }
  if (time_ == "t") {
    return t;
  }
  if (time_ == "fraction") {
    return t / process.t_max();
  }
  if (time_ == "reversed") {
    return 1 - t / process.t_max();
  }
  const Tensor sigma = process.noise_level(t).clamp(least_level, most_level);
  const Tensor log_sigma = sigma.log();
  return time_ == "sigma"       ? sigma
         : time_ == "log_sigma" ? log_sigma
         : time_ == "c_noise"   ? log_sigma / 4
                                : log_sigma * -2;
}

ModuleTeacher::ModuleTeacher(Params& p)
    : form_(p),
      input_(p),
      guidance_(guidance_weight(p)),
      shape_(p.get("shape", std::vector<int64_t>{}, "of one sample, such as [3, 32, 32]; empty: the data set's",
                   at_least(1))),
      range_(guidance_range(p)),
      classes_(p.get("classes", 0, "of its labels; 0: the data set's", at_least(0))) {
  if (p.is_describing()) {
    return;
  }
  if (!p.given("parametrisation")) {
    throw p.error("parametrisation", "missing; expected what the module predicts: noise, v, data, edm or flow");
  }
  process_ = p.host().process();
  if (input_.counts_steps()) {
    form_.preconditioning.sees = Sees::discrete;
  }
  input_.check(process_, p);
  form_.check(process_, p);
  shape_ = shape_.empty() ? p.host().spec().shape : shape_;
  if (shape_.empty()) {
    throw p.error("shape", "missing, and there is no data set; expected the shape of one sample, such as [3, 32, 32]");
  }
}

std::vector<Input> ModuleTeacher::known_inputs(const Params& p) const {
  std::vector<Input> out = label_inputs(classes_);
  for (const Input& input : p.host().spec().inputs) {
    if (input.name != inputs::guidance && (classes_ == 0 || input.name != inputs::labels)) {
      out.push_back(input);
    }
  }
  out.push_back(guidance_input());
  return out;
}

void ModuleTeacher::takes(std::vector<Input> inputs, const std::string& name, const Params& p) {
  takes_guidance_ =
      std::erase_if(inputs, [](const Input& input) { return input.name == retort::inputs::guidance; }) > 0;
  inputs_ = std::move(inputs);
  if (inputs_.empty() && !takes_guidance_ && (guidance_ != 1 || range_)) {
    throw p.error(range_ ? "guidance_range" : "guidance",
                  "needs a conditional module; " + name + " is given x and time alone");
  }
}

Tensor ModuleTeacher::ask_at(const Tensor& x, const Tensor& t, const Conditioning& given) const {
  return ask(x, input_.time(process_, form_, t), given);
}

Tensor ModuleTeacher::predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  const Tensor scale = input_.factor(process_, form_, t);
  const Tensor input = scale.defined() ? rows(scale, x) * x : x;
  const Conditioning given = whole(condition, x);
  if (!asks_twice()) {
    return ask_at(input, t, guidance_ == 0 && !range_ && !takes_guidance_ ? unconditional(given) : given);
  }
  const Tensor both = ask_at(at::cat({input, input}), at::cat({t, t}), Conditioning::cat(given, unconditional(given)));
  return guided(both, condition[retort::inputs::guidance], guidance_);
}

Conditioning ModuleTeacher::example(c10::Device device) const {
  Conditioning out;
  for (const Input& input : inputs_) {
    std::vector<int64_t> shape = input.shape;
    shape.insert(shape.begin(), 2);
    const Tensor rows = input.classes > 0 ? at::arange(2, at::kLong).remainder(input.classes)
                                          : at::ones(shape, at::TensorOptions().dtype(input.dtype));
    out.set(input.name, rows.to(device));
  }
  if (range_) {
    out.set(retort::inputs::guidance, at::full({2}, range_->first, at::kDouble));
  }
  return out;
}

Conditioning ModuleTeacher::whole(const Conditioning& condition, const Tensor& x) const {
  Conditioning out;
  for (const Input& input : inputs_) {
    if (condition.has(input.name)) {
      out.set(input.name, condition[input.name].to(x.device()));
    } else if (input.classes > 0) {
      out.set(input.name, at::full({x.size(0)}, input.classes, x.options().dtype(at::kLong)));
    }
  }
  if (takes_guidance_) {
    const Tensor w = condition[retort::inputs::guidance];
    out.set(retort::inputs::guidance,
            w.defined() ? w.to(x.device()) : at::full({x.size(0)}, guidance_, x.options().dtype(at::kDouble)));
  }
  return out;
}

}  // namespace retort
