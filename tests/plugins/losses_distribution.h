/// What the tests of losses of distributions share: a step on tiny networks beside formulas, and a Gaussian generator
/// with exact networks. On process "rectified_flow", x_t = (1 - t) x + t n.
#pragma once

#include <torch/nn/module.h>
#include <torch/optim/adam.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/support.h"
#include "support/tiny_network.h"

namespace retort::test::distribution {

inline constexpr int64_t batch_rows = 6;
inline const char* const mixture = "means = [[-1, 0.5], [0.6, -0.7]]\nstds = [0.3, 0.5]";

inline Tensor col(const Tensor& c) { return c.unsqueeze(1); }
inline Tensor told(const Tensor& t) { return t.to(at::kFloat).to(at::kDouble); }

/// The mixture's E[x0 | x_t], differentiable.
inline Tensor denoised(const Tensor& x, const Tensor& t) {
  std::vector<Tensor> logs, data;
  for (const auto& [mean, std] : {std::pair(times({-1, 0.5}), 0.3), std::pair(times({0.6, -0.7}), 0.5)}) {
    const Tensor alpha = 1 - t, variance = alpha.square() * std * std + t.square();
    const Tensor offset = x - col(alpha) * mean;
    logs.push_back(-offset.square().sum(1) / (2 * variance) - variance.log());
    data.push_back(mean + col(alpha * std * std / variance) * offset);
  }
  const Tensor share = at::softmax(at::stack(logs), 0);
  return col(share[0]) * data[0] + col(share[1]) * data[1];
}

/// A step on tiny networks whose draws are brought, and the same networks for a formula.
struct World {
  TestHost host{"type = \"rectified_flow\"", ModelSpec{{2}}};
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture);
  Tensor real = normal({batch_rows, 2}, 1) * 0.5, z = normal({batch_rows, 2}, 2), noise = normal({batch_rows, 2}, 3);
  Tensor place = times({-1.5, -0.7, 0, 0.4, 1, 2});
  std::map<std::string, TinyWeights> weights;
  std::map<std::string, std::shared_ptr<TinyNetwork>> networks;
  Tensor level = (place * 1.2 - 1.2).exp(), t = level / (1 + level);
  Tensor x, x_t, d_teacher, d_fake;                 // the formula's
  std::vector<Tensor> numbers = {z, place, noise};  // in the order in which a loss draws
  std::shared_ptr<Schedule> schedule;
  Tensor labels;
  Makes makes = Makes::generator;

  World() {
    uint64_t seed = 1;
    for (const char* name : {"student", "fake", "discriminator"}) {
      weights[name] = TinyWeights::random(seed++, 2, 1, 2).leaves();
      networks[name] = std::make_shared<TinyNetwork>(weights[name]);
    }
    x = z - weights["student"](z, {at::ones({batch_rows}, at::kDouble)});
    x_t = col(1 - t) * x + col(t) * noise;
    d_teacher = denoised(x_t, t);
    d_fake = x_t - col(t) * weights["fake"](x_t, {told(t)});
  }

  LossValue run(const std::string& name, const std::string& toml, bool student_due = true) {
    const auto loss = host.make_plugin<Loss>(name, toml);
    std::map<std::string, Model> models;
    for (const auto& [role, network] : networks) {
      models.emplace(role, Model(host.backend().trainable(network), host.process(), {Predicts::flow, 0.5}, {}, makes));
    }
    const Ode ode(*teacher);
    size_t next = 0;
    Batch batch{real, {}};
    if (labels.defined()) {
      batch.condition.set(inputs::labels, labels);
    }
    TrainingStep step{.batch = batch,
                      .student = models.at("student"),
                      .target = models.at("student"),
                      .ode = &ode,
                      .schedule = schedule.get(),
                      .process = host.process(),
                      .generator = seeded(0, "unused"),
                      .spec = {{2}},
                      .brought = [&](std::string_view) { return numbers.at(next++); }};
    for (const Role& role : loss->roles()) {
      step.roles.push_back(
          {role.name, role.name == "student" ? nullptr : &models.at(role.name), role.name != "student" || student_due});
    }
    LossValue out = (*loss)(step);
    CHECK(next == numbers.size());
    return out;
  }

  /// A value, and the gradient of every parameter of the network that it trains; one may have none.
  void agree(const Tensor& got, const Tensor& formula, const std::string& name, double tolerance = 1e-11,
             const std::string& without = "") {
    CHECK(most(got - formula) < 1e-12 * (1 + most(formula)));
    const std::vector<Tensor> own = networks.at(name)->module()->parameters();
    for (const Tensor& p : own) {
      p.mutable_grad() = Tensor();
    }
    std::vector<Tensor> leaves;
    for (auto& [key, leaf] : weights.at(name).at) {
      leaf.mutable_grad() = Tensor();
      leaves.push_back(leaf);
    }
    formula.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, leaves);
    got.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, own);
    for (const auto& p : networks.at(name)->module()->named_parameters()) {
      CAPTURE(name);
      CAPTURE(p.key());
      const Tensor wanted = weights.at(name).at.at(p.key()).grad();
      REQUIRE(p.value().grad().defined());
      CHECK(most(p.value().grad() - wanted) < tolerance * (1 + most(wanted)));
      CHECK((most(wanted) > 1e-7 || p.key() == without));
    }
  }

  Tensor half_square(const Tensor& step) const {  // whose gradient in x is the step
    return 0.5 * (x - (x - step).detach()).square().mean(1);
  }
  Tensor over_size(const Tensor& step) const { return step / col((x - d_teacher).abs().mean(1) + 1e-6); }
  Tensor fake_loss() {
    const Tensor from = x_t.detach(), d = from - col(t) * weights["fake"](from, {told(t)});
    return (d - x.detach()).square().mean(1) * (1 / level.square() + 4);
  }
  Tensor logit(const Tensor& at) { return weights["discriminator"](at, {told(t)}).mean(1); }
};

/// log(1 + e^v)
inline Tensor soft(const Tensor& v) { return v.exp().log1p(); }

/// Whatever a function of x: [B, 1] and t: [B, 1] says.
class Said final : public CompiledNetwork {
 public:
  explicit Said(std::function<Tensor(const Tensor&, const Tensor&)> f) : f_(std::move(f)) {}
  Tensor operator()(const Tensor& x, const Tensor& t, const Conditioning&) override {
    return f_(x, t.to(at::kDouble).unsqueeze(1));
  }

 private:
  std::function<Tensor(const Tensor&, const Tensor&)> f_;
};

/// A generator b + a z, its exact diffusion model, and the exact discriminator from N(0.3, 0.16).
struct Gaussians {
  TestHost host{"type = \"rectified_flow\"", ModelSpec{{1}}};
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", "means = [[0.3]]\nstds = [0.4]");
  Tensor a, b;

  Gaussians(double a0, double b0) : a(times({a0}).requires_grad_(true)), b(times({b0}).requires_grad_(true)) {}

  /// The gradients of a step, in a and b.
  void step(const Loss& loss, uint64_t seed) {
    const Tensor mean = b.detach(), variance = a.detach().square();
    const auto wide = [](const Tensor& v, const Tensor& t) { return (1 - t).square() * v + t.square(); };
    const auto log_density = [&](const Tensor& x, const Tensor& t, const Tensor& m, const Tensor& v) {
      return -(x - (1 - t) * m).square() / (2 * wide(v, t)) - 0.5 * wide(v, t).log();
    };
    const auto model = [&](std::function<Tensor(const Tensor&, const Tensor&)> f) {
      return Model(std::make_shared<Said>(std::move(f)), host.process(), {Predicts::data, 0.5}, {}, Makes::generator);
    };
    const Model student = model([&](const Tensor& z, const Tensor&) { return b + a * z; });
    const Model fake = model([&](const Tensor& x, const Tensor& t) {
      return mean + (1 - t) * variance / wide(variance, t) * (x - (1 - t) * mean);
    });
    const Model discriminator = model([&](const Tensor& x, const Tensor& t) {
      return log_density(x, t, times({0.3}), times({0.16})) - log_density(x, t, mean, variance);
    });
    const Ode ode(*teacher);
    TrainingStep step{.batch = {0.3 + 0.4 * normal({256, 1}, seed), {}},
                      .student = student,
                      .target = student,
                      .ode = &ode,
                      .process = host.process(),
                      .generator = seeded(seed, "training"),
                      .spec = {{1}}};
    for (const Role& role : loss.roles()) {
      step.roles.push_back({role.name, role.name == "fake" ? &fake : &discriminator, true});
    }
    a.mutable_grad() = b.mutable_grad() = Tensor();
    loss(step).per_row.mean().backward();
  }
};

/// Samples of the mixture.
inline Tensor draw_mixture(int64_t n, uint64_t seed) {
  const Tensor second = (at::arange(n, at::kLong).remainder(2) == 1).unsqueeze(1);
  const Tensor noise = normal({n, 2}, seed);
  return at::where(second, times({0.6, -0.7}) + 0.5 * noise, times({-1, 0.5}) + 0.3 * noise);
}

/// 2 E|x - y| - E|x - x'| - E|y - y'| of as many samples each. Of 2,000 from the mixture it is below 0.002 from chance.
inline double energy_distance(const Tensor& x, const Tensor& y) {
  const auto mean = [](const Tensor& a, const Tensor& b) { return at::cdist(a, b, 2, /*compute_mode=*/2).mean(); };
  const auto n = static_cast<double>(x.size(0));
  return (2 * mean(x, y) - n / (n - 1) * (mean(x, x) + mean(y, y))).item<double>();
}

/// A student that learns the mixture by a loss, with the networks of the loss, from the exact teacher or from data.
class Apprentice {
 public:
  /// Of a student that is told two times where `end_time` is set. Where there is a teacher, the student and the fake
  /// network begin as a network that knows it well, unless that is so.
  Apprentice(const std::string& loss, const std::string& toml, Makes makes, bool end_time = false)
      : makes_(makes), end_time_(end_time), loss_(host_.make_plugin<Loss>(loss, toml)) {
    at::manual_seed(7);  // networks draw their weights from there
    TestHost told(
        "type = \"rectified_flow\"",
        ModelSpec{{2}, end_time ? std::vector<Input>{{.name = std::string(inputs::end_time)}} : std::vector<Input>{}});
    add("student", new_mlp(told));
    for (const Role& role : loss_->roles()) {
      if (role.name != "student") {
        add(role.name, role.network != nullptr ? role.network : new_mlp(host_));
      }
    }
    if (loss_->needs().teacher && !end_time) {
      know_the_teacher();
    }
  }

  /// Adam, whose rate falls to 0.
  void train(uint64_t steps, double rate = 3e-3, int64_t batch = 256) {
    const Ode ode(*teacher_);
    for (uint64_t i = 0; i < steps; ++i) {
      TrainingStep step{.batch = {draw_mixture(batch, 1000 + i), {}},
                        .student = model("student"),
                        .target = model("student"),
                        .ode = &ode,
                        .solver = solver_.get(),
                        .schedule = schedule_.get(),
                        .process = host_.process(),
                        .generator = seeded(i, "training"),
                        .progress = static_cast<double>(i) / static_cast<double>(steps),
                        .spec = {{2}},
                        .index = static_cast<int64_t>(i)};
      for (const Role& role : loss_->roles()) {
        step.roles.push_back({role.name, role.name == "student" ? nullptr : &model(role.name),
                              static_cast<int64_t>(i) % role.every == 0});
      }
      LossValue value = (*loss_)(step);
      if (value.per_row.defined()) {
        value.roles["student"] = value.per_row;
      }
      for (const auto& [name, per_row] : value.roles) {  // weights move when all gradients are known
        optimizers_.at(name)->zero_grad();
        per_row.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, parameters_.at(name));
      }
      for (const auto& [name, per_row] : value.roles) {
        torch::optim::Adam& optimizer = *optimizers_.at(name);
        static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options()).lr(rate * (1 - step.progress));
        optimizer.step();
      }
    }
  }

  /// Energy distance of what the student makes in so many steps from the mixture.
  double distance(int64_t steps) {
    const at::NoGradGuard no_grad;
    constexpr int64_t count = 2000;
    Tensor x = normal({count, 2}, 77);
    const auto time = [&](int64_t k) {
      return at::full({count}, 1 - static_cast<double>(k) / static_cast<double>(steps), at::kDouble);
    };
    for (int64_t k = 0; k < steps; ++k) {
      x = makes_ == Makes::flow_map ? model("student").jump(x, time(k), time(k + 1), {})
                                    : model("student").data(x, time(k), {});
    }
    return energy_distance(x, draw_mixture(count, 1));
  }

  const Model& model(const std::string& name) const { return models_.at(name); }

 private:
  // D(x, t) is learned from data, and copied to the networks that begin as the teacher's.
  void know_the_teacher() {
    torch::optim::Adam optimizer(parameters_.at("student"), 3e-3);
    for (uint64_t i = 0; i < 400; ++i) {
      const Tensor x = draw_mixture(256, 9000 + i), noise = normal({256, 2}, 8000 + i);
      const Tensor t = 0.001 + 0.999 * at::rand({256}, seeded(i, "times"), at::kDouble);
      const Tensor data = model("student").data(col(1 - t) * x + col(t) * noise, t, {});
      optimizer.zero_grad();
      ((data - x).square().mean(1) / (0.05 + t.square())).mean().backward();
      optimizer.step();
    }
    const at::NoGradGuard no_grad;
    for (const Role& role : loss_->roles()) {
      if (role.name != "student" && role.start == Role::Start::teacher) {
        for (size_t i = 0; i < parameters_.at("student").size(); ++i) {
          parameters_.at(role.name)[i].copy_(parameters_.at("student")[i]);
        }
      }
    }
  }
  static std::shared_ptr<Network> new_mlp(TestHost& host) {
    return host.make_plugin<Network>("mlp", "width = 64\ndepth = 2\nembedding = 8");
  }
  void add(const std::string& name, const std::shared_ptr<Network>& network) {
    network->module()->to(at::kDouble);
    const bool student = name == "student";
    models_.emplace(name, Model(host_.backend().trainable(network), host_.process(), {Predicts::flow, 0.5}, {},
                                student ? makes_ : Makes::denoiser, student && end_time_));
    optimizers_.emplace(name, std::make_unique<torch::optim::Adam>(network->module()->parameters()));
    parameters_.emplace(name, network->module()->parameters());
  }

  TestHost host_{"type = \"rectified_flow\"", ModelSpec{{2}}};
  Makes makes_;
  bool end_time_;
  std::shared_ptr<Loss> loss_;
  std::shared_ptr<Teacher> teacher_ = host_.make_plugin<Teacher>("gaussian_mixture", mixture);
  std::shared_ptr<Solver> solver_ = host_.make_plugin<Solver>("heun");
  std::shared_ptr<Schedule> schedule_ = host_.make_plugin<Schedule>("uniform", "steps = 16");
  std::map<std::string, Model> models_;
  std::map<std::string, std::unique_ptr<torch::optim::Adam>> optimizers_;
  std::map<std::string, std::vector<Tensor>> parameters_;
};

}  // namespace retort::test::distribution
