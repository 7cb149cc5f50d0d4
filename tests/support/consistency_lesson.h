/// A step of training for the losses of the consistency family, and what their network says, by hand.
#pragma once

#include <torch/nn/module.h>

#include "support/support.h"
#include "support/tiny_network.h"

namespace retort::test {

inline constexpr const char* mixture_2d =
    "weights = [0.4, 0.6]\nmeans = [[-1.0, 0.3], [0.8, -0.5]]\nstds = [0.25, 0.4]";
inline constexpr int64_t batch = 32;

inline std::shared_ptr<Network> tiny(uint64_t seed) {
  return std::make_shared<TinyNetwork>(TinyWeights::random(seed, 2, 1, 2, 8));
}

struct Lesson {
  TestHost host;
  std::shared_ptr<Teacher> teacher;
  std::shared_ptr<Solver> solver;
  std::shared_ptr<Schedule> schedule;
  Parametrisation form{Predicts::edm, 0.5};
  std::shared_ptr<Network> network = tiny(10), other = tiny(20);
  Tensor data = normal({batch, 2}, 9) * 0.5;
  double progress = 0;
  int64_t stage = 0;

  explicit Lesson(const std::string& solver_name = "heun",
                  const std::string& schedule_toml = "steps = 12\nsigma_max = 10",
                  const std::string& process = "type = \"ve\"")
      : host(process, ModelSpec{{2}}),
        teacher(host.make_plugin<Teacher>("gaussian_mixture", mixture_2d)),
        solver(host.make_plugin<Solver>(solver_name)),
        schedule(host.make_plugin<Schedule>("karras", schedule_toml)) {}

  Model model(const std::shared_ptr<Network>& of) { return {host.backend().trainable(of), host.process(), form}; }

  struct Outcome {
    LossValue value;
    Tensor gradient;  // of all parameters, one behind another
    int64_t evaluations;
  };
  Outcome run(const std::string& loss, const std::string& toml = "", const std::vector<Tensor>& brought = {},
              uint64_t seed = 1) {
    const Model student = model(network), target = model(other);
    const auto made = host.make_plugin<Loss>(loss, toml);
    const Ode ode(*teacher);
    const bool average = !made->roles().empty() && made->roles()[0].name == "target";
    size_t next = 0;
    TrainingStep step{.batch = {data, {}},
                      .student = student,
                      .target = average ? target : student,
                      .ode = &ode,
                      .solver = solver.get(),
                      .schedule = schedule.get(),
                      .process = host.process(),
                      .generator = seeded(seed, "lesson"),
                      .progress = progress,
                      .stage = stage};
    for (const Role& role : made->roles()) {
      step.roles.push_back({role.name, &target, true});
    }
    if (!brought.empty()) {
      step.brought = [&](std::string_view) { return brought.at(next++); };
    }
    const LossValue value = (*made)(step);
    CHECK(next == brought.size());
    return {value, gradient(network, value.per_row.mean()), ode.evaluations()};
  }

  // Of every parameter, one behind another.
  static Tensor gradient(const std::shared_ptr<Network>& of, const Tensor& value) {
    std::vector<Tensor> parts;
    for (const auto& p : of->module()->named_parameters()) {
      p.value().mutable_grad() = Tensor();
    }
    value.backward({}, /*retain_graph=*/true);
    for (const auto& p : of->module()->named_parameters()) {
      parts.push_back((p.value().grad().defined() ? p.value().grad() : at::zeros_like(p.value())).flatten());
    }
    return at::cat(parts);
  }
};

// What the tiny network says of [X; label], and its derivative along a direction of both, by hand.
struct Said {
  Tensor value, derivative;
};
inline Said say(const std::shared_ptr<Network>& of, const Tensor& in, const Tensor& label, const Tensor& d_in = {},
                const Tensor& d_label = {}) {
  const auto p = of->module()->named_parameters();
  const auto join = [](const Tensor& x, const Tensor& c) { return at::cat({x, c.unsqueeze(1)}, 1); };
  const Tensor h = at::linear(join(in, label.to(at::kFloat).to(at::kDouble)), p["W1"], p["b1"]).tanh();
  Said out{at::linear(h, p["W2"], p["b2"]), {}};
  if (d_in.defined()) {
    out.derivative = at::linear((1 - h * h) * at::linear(join(d_in, d_label), p["W1"]), p["W2"]).detach();
  }
  return out;
}

// EDM's denoiser with sigma_data = 0.5 (Karras et al. 2022, table 1). x: [B, 2], t: [B].
inline Tensor denoiser(const std::shared_ptr<Network>& of, const Tensor& x, const Tensor& t) {
  const Tensor s = t.unsqueeze(1), square = s * s + 0.25;
  return 0.25 / square * x + 0.5 * s / square.sqrt() * say(of, x / square.sqrt(), t.log() / 4).value;
}

inline void same(const Lesson& l, const Lesson::Outcome& got, const Tensor& wanted, double tolerance = 1e-12) {
  CHECK(test::most(got.value.per_row - wanted) < tolerance * test::most(wanted));
  const Tensor gradient = Lesson::gradient(l.network, wanted.mean());
  CHECK(test::most(got.gradient - gradient) < tolerance * test::most(gradient));
}

}  // namespace retort::test
