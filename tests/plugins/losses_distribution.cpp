// Losses that match distributions: values and gradients of every network against formulas written here, on process
// "rectified_flow", x_t = (1 - t) x + t n, and what they lead a Gaussian generator to with exact networks.
#include <cmath>

#include "support/support.h"
#include "support/tiny_network.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr int64_t batch_rows = 6;
const char* const mixture = "means = [[-1, 0.5], [0.6, -0.7]]\nstds = [0.3, 0.5]";

Tensor col(const Tensor& c) { return c.unsqueeze(1); }
Tensor told(const Tensor& t) { return t.to(at::kFloat).to(at::kDouble); }

// The mixture's E[x0 | x_t], differentiable.
Tensor denoised(const Tensor& x, const Tensor& t) {
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

// A step on tiny networks whose draws are brought, and the same networks for a formula.
struct World {
  TestHost host{"type = \"rectified_flow\"", ModelSpec{{2}}};
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture);
  Tensor real = normal({batch_rows, 2}, 1) * 0.5, z = normal({batch_rows, 2}, 2), noise = normal({batch_rows, 2}, 3);
  Tensor place = times({-1.5, -0.7, 0, 0.4, 1, 2});
  std::map<std::string, TinyWeights> weights;
  std::map<std::string, std::shared_ptr<TinyNetwork>> networks;
  Tensor level = (place * 1.2 - 1.2).exp(), t = level / (1 + level);
  Tensor x, x_t, d_teacher, d_fake;  // the formula's

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
      models.emplace(
          role, Model(host.backend().trainable(network), host.process(), {Predicts::flow, 0.5}, {}, Makes::generator));
    }
    const Ode ode(*teacher);
    const std::vector<Tensor> numbers = {z, place, noise};
    size_t next = 0;
    TrainingStep step{.batch = {real, {}},
                      .student = models.at("student"),
                      .target = models.at("student"),
                      .ode = &ode,
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

  // A value, and the gradient of every parameter of the network that it trains.
  void agree(const Tensor& got, const Tensor& formula, const std::string& name, double tolerance = 1e-11) {
    CHECK(most(got - formula) < 1e-12 * (1 + most(formula)));
    const std::vector<Tensor> own = networks.at(name)->module()->parameters();
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
      CHECK(most(wanted) > 1e-7);
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

// log(1 + e^v)
Tensor soft(const Tensor& v) { return v.exp().log1p(); }

}  // namespace

TEST_CASE("diff_instruct moves the sample against the difference of both scores, weighted by the noise level") {
  for (const bool one : {false, true}) {
    CAPTURE(one);
    World w;
    const LossValue value = w.run("diff_instruct", one ? "weight = \"one\"" : "");
    CHECK(most(value.t - w.t) < 1e-15);
    // Scores of x_t, times alpha sigma^2 / alpha^2 of the chain's rule and of w = s^2.
    const auto score = [&](const Tensor& d) { return (col(1 - w.t) * d - w.x_t) / col(w.t.square()); };
    const Tensor weight = (one ? at::ones_like(w.t) : w.level.square()) * (1 - w.t);
    w.agree(value.per_row, w.half_square(col(weight) * (score(w.d_fake) - score(w.d_teacher))), "student");
    w.agree(value.roles.at("fake"), w.fake_loss(), "fake");
  }
}

TEST_CASE("sid is the identity of scores, with gradients through the sample and both networks") {
  for (const double alpha : {1.2, 1.0, 0.5}) {
    CAPTURE(alpha);
    World w;
    const LossValue value = w.run("sid", "alpha = " + std::to_string(alpha));
    const Tensor d = w.d_teacher - w.d_fake;
    const Tensor size = (w.x - w.d_teacher).detach().abs().mean(1);
    // The derivative through the teacher is a central difference.
    w.agree(value.per_row, (d * ((w.d_teacher - w.x) - alpha * d)).mean(1) / size, "student", 1e-8);
    w.agree(value.roles.at("fake"), w.fake_loss(), "fake");
  }
}

TEST_CASE("f_distill is dmd2 times h(r) of the discriminator's ratio, before the discriminator itself") {
  for (const bool batch : {false, true}) {
    CAPTURE(batch);
    World w;
    const LossValue value =
        w.run("f_distill", std::string("divergence = \"jeffreys\"\ngan_weight = 0.1\nratio_min = 0.8\nratio_max = "
                                       "1.5\ndiscriminator = \"mlp\"\nnormalise = ") +
                               (batch ? "\"batch\"" : "\"none\""));
    Tensor h = 1 + w.logit(w.x_t).exp().clamp(0.8, 1.5).detach();
    CHECK((h == 1.8).logical_or(h == 2.5).any().item<bool>());  // some ratio is beyond a bound
    h = batch ? h / h.mean() : h;
    w.agree(value.per_row, h * w.half_square(w.over_size(w.d_fake - w.d_teacher)) + 0.1 * soft(-w.logit(w.x_t)),
            "student");
    w.agree(value.roles.at("fake"), w.fake_loss(), "fake");
    const Tensor real = col(1 - w.t) * w.real + col(w.t) * w.noise;
    w.agree(value.roles.at("discriminator"), soft(w.logit(w.x_t.detach())) + soft(-w.logit(real)), "discriminator");
  }
}

TEST_CASE("f_distill's weight is r^2 f''(r) of each divergence") {
  const std::tuple<const char*, double, std::function<double(double)>> kinds[] = {
      {"reverse_kl", 1, [](double r) { return -std::log(r); }},
      {"kl", 1, [](double r) { return r * std::log(r); }},
      {"jensen_shannon", 1, [](double r) { return r * std::log(r) - (r + 1) * std::log((r + 1) / 2); }},
      {"softened_reverse_kl", 1, [](double r) { return (r + 1) * std::log((r + 1) / (2 * r)); }},
      {"jeffreys", 1, [](double r) { return (r - 1) * std::log(r); }},
      {"squared_hellinger", 2, [](double r) { return (1 - std::sqrt(r)) * (1 - std::sqrt(r)); }},
      {"neyman", 0.5, [](double r) { return (1 - r) * (1 - r) / r; }},
      {"pearson", 0.5, [](double r) { return (1 - r) * (1 - r); }}};
  for (const auto& [name, factor, f] : kinds) {
    CAPTURE(name);
    World w;
    const std::string toml = "gan_weight = 0\nratio_min = 1e-3\nratio_max = 1e3\ndiscriminator = \"mlp\"\n";
    const Tensor plain = w.run("dmd2", "").per_row;
    const Tensor h = w.run("f_distill", toml + "divergence = \"" + name + "\"").per_row / plain;
    const Tensor ratio = w.logit(w.x_t).exp();
    for (int64_t i = 0; i < batch_rows; ++i) {
      const double r = ratio[i].item<double>(), e = 1e-4 * r;
      const double second = (f(r + e) - 2 * f(r) + f(r - e)) / (e * e);
      CHECK(h[i].item<double>() == doctest::Approx(factor * r * r * second).epsilon(1e-5));
    }
  }
}

TEST_CASE("a student that is not due has no value, and its networks learn the same") {
  for (const std::string name : {"dmd2", "diff_instruct", "sid", "f_distill"}) {
    CAPTURE(name);
    World w;
    const LossValue due = w.run(name, ""), not_due = w.run(name, "", false);
    CHECK(!not_due.per_row.defined());
    REQUIRE(due.roles.size() == not_due.roles.size());
    for (const auto& [role, value] : due.roles) {
      CHECK(at::equal(value, not_due.roles.at(role)));
    }
    CHECK(w.host.make_plugin<Loss>(name, "student_every = 3")->roles()[0].every == 3);
  }
}

namespace {

// Whatever a function of x: [B, 1] and t: [B, 1] says.
class Said final : public CompiledNetwork {
 public:
  explicit Said(std::function<Tensor(const Tensor&, const Tensor&)> f) : f_(std::move(f)) {}
  Tensor operator()(const Tensor& x, const Tensor& t, const Conditioning&) override {
    return f_(x, t.to(at::kDouble).unsqueeze(1));
  }

 private:
  std::function<Tensor(const Tensor&, const Tensor&)> f_;
};

// A generator b + a z, its exact diffusion model, and the exact discriminator from N(0.3, 0.16).
struct Gaussians {
  TestHost host{"type = \"rectified_flow\"", ModelSpec{{1}}};
  std::shared_ptr<Teacher> teacher = host.make_plugin<Teacher>("gaussian_mixture", "means = [[0.3]]\nstds = [0.4]");
  Tensor a, b;

  Gaussians(double a0, double b0) : a(times({a0}).requires_grad_(true)), b(times({b0}).requires_grad_(true)) {}

  // The gradients of a step, in a and b.
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

const std::pair<std::string, std::string> with_exact_networks[] = {
    {"dmd2", ""},
    {"diff_instruct", ""},
    {"sid", ""},
    {"sid", "alpha = 1.0"},
    {"f_distill", "gan_weight = 0.1"},
    {"f_distill", "divergence = \"kl\"\nnormalise = \"batch\""}};

}  // namespace

TEST_CASE("the exact generator with the exact fake network has no gradient") {
  for (const auto& [name, toml] : with_exact_networks) {
    CAPTURE(name);
    CAPTURE(toml);
    Gaussians exact(0.4, 0.3), wrong(0.5, 0.3);
    const auto loss = exact.host.make_plugin<Loss>(name, toml);
    exact.step(*loss, 1);
    CHECK(most(exact.a.grad()) < 1e-6);  // of the label's float32
    CHECK(most(exact.b.grad()) < 1e-6);
    wrong.step(*loss, 1);
    CHECK(most(wrong.a.grad()) > 1e-3);
  }
}

TEST_CASE("a Gaussian generator is led to the teacher's Gaussian") {
  for (const auto& [name, toml] : with_exact_networks) {
    CAPTURE(name);
    CAPTURE(toml);
    Gaussians g(toml.empty() && name == "sid" ? 0.5 : 0.8, -0.2);  // sid's alpha of 1.2 has to begin nearer
    const auto loss = g.host.make_plugin<Loss>(name, toml);
    for (uint64_t i = 0; i < 500; ++i) {
      g.step(*loss, i);
      const at::NoGradGuard no_grad;
      g.a -= 0.1 * g.a.grad();
      g.b -= 0.1 * g.b.grad();
    }
    CHECK(g.a.item<double>() == doctest::Approx(0.4).epsilon(0.02));
    CHECK(g.b.item<double>() == doctest::Approx(0.3).epsilon(0.02));
  }
}

TEST_CASE("losses of distributions have finite gradients at weights of zeros and of ones, and for equal rows") {
  for (const std::string name : {"dmd2", "diff_instruct", "sid", "f_distill"}) {
    for (const double number : {0.0, 1.0}) {
      for (const bool equal : {false, true}) {
        CAPTURE(name);
        CAPTURE(number);
        CAPTURE(equal);
        World w;
        for (const auto& [role, network] : w.networks) {
          for (Tensor& p : network->module()->parameters()) {
            p.set_data(at::full_like(p, number));
          }
        }
        if (equal) {
          w.z.fill_(0.3);
          w.noise.fill_(0.3);
          w.real.fill_(0.3);
        }
        LossValue value = w.run(name, "");
        value.roles["student"] = value.per_row;
        for (const auto& [role, per_row] : value.roles) {
          const std::vector<Tensor> own = w.networks.at(role)->module()->parameters();
          per_row.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, own);
          for (const Tensor& p : own) {
            CHECK((!p.grad().defined() || p.grad().isfinite().all().item<bool>()));
          }
          // A discriminator of zeros learns nothing of means: it says 0 of both, and its hidden layer nothing.
          CHECK((role == "discriminator" || most(own.back().grad()) + most(own.front().grad()) > 0));
        }
      }
    }
  }
}
