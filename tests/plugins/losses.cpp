#include "support/support.h"

#include <torch/nn/module.h>

using namespace retort;
using namespace retort::test;

namespace {

// A network that answers with the teacher's own prediction: the perfect denoiser.
class TeacherEvaluator final : public CompiledNetwork {
 public:
  TeacherEvaluator(const Teacher& teacher, Parametrisation form) : teacher_(teacher), form_(form) {}
  Tensor operator()(const Tensor& x, const Tensor& noise, const Conditioning&) override {
    const Tensor t = (noise.to(at::kDouble) * 4).exp();  // EDM's label of a variance-exploding process
    const Tensor state = x / rows(form_.c_in(teacher_.process(), t), x);
    const Ode::Prediction f = Ode(teacher_).predict(state, t);
    return form_.target(teacher_.process(), t, f.data, f.noise);
  }

 private:
  const Teacher& teacher_;
  Parametrisation form_;
};

// A student that knows the flow map of a Gaussian teacher: f(x, t) is the end of the ODE.
class FlowMapEvaluator final : public CompiledNetwork {
 public:
  explicit FlowMapEvaluator(Parametrisation form) : form_(form) {}
  Tensor operator()(const Tensor& x, const Tensor& noise, const Conditioning&) override {
    const Process ve;
    const Tensor t = (noise.to(at::kDouble) * 4).exp();
    const Tensor state = x / rows(form_.c_in(ve, t), x);
    const Tensor end = mean + rows((variance / (variance + t * t)).sqrt(), x) * (state - mean);
    // F of D = end
    const Linear d = form_.to_data(ve, t);
    return (end - rows(d.a, x) * state) / rows(d.b, x);
  }
  static constexpr double mean = 0.3;
  static constexpr double variance = 0.16;

 private:
  Parametrisation form_;
};

struct Setting {
  TestHost host{"type = \"ve\"", ModelSpec{{1}}};
  std::shared_ptr<Teacher> teacher;
  std::shared_ptr<Solver> solver;
  std::shared_ptr<Schedule> schedule;
  Parametrisation form{Predicts::edm, 0.5};
  std::shared_ptr<Network> network;

  explicit Setting(const std::string& mixture = mixture_1d,
                   const std::string& schedule_toml = "steps = 12\nsigma_max = 10",
                   const std::string& solver_name = "heun", const std::string& solver_toml = "")
      : teacher(host.make_plugin<Teacher>("gaussian_mixture", mixture)),
        solver(host.make_plugin<Solver>(solver_name, solver_toml)),
        schedule(host.make_plugin<Schedule>("karras", schedule_toml)) {
    at::manual_seed(1);
    network = host.make_plugin<Network>("mlp", "width = 16");
    for (Tensor& p : network->module()->parameters()) {
      p.set_data(at::randn(p.sizes(), p.options()) * 0.2);
    }
    network->module()->to(at::kDouble);
  }

  LossValue value(const std::string& loss, const Model& student, const Model& target, const Ode& ode, uint64_t seed = 1,
                  const std::string& toml = "") {
    const Batch batch{normal({64, 1}, 9) * 0.5, {}};
    const TrainingStep step{.batch = batch,
                            .student = student,
                            .target = target,
                            .ode = &ode,
                            .solver = solver.get(),
                            .schedule = schedule.get(),
                            .process = host.process(),
                            .generator = seeded(seed, "loss")};
    return (*host.make_plugin<Loss>(loss, toml))(step);
  }
  Model trainable() { return {host.backend().trainable(network), host.process(), form}; }
  Model frozen() { return {host.backend().compile(network), host.process(), form}; }
};

const char* const gaussian = "means = [[0.3]]\nstds = [0.4]";

}  // namespace

TEST_CASE("over one grid interval CM is Direct CM") {
  Setting s(mixture_1d, "steps = 2\nsigma_max = 10\nsigma_min = 0.5\nfinal_zero = false");
  const Ode ode(*s.teacher);
  const LossValue a = s.value("cm", s.trainable(), s.frozen(), ode);
  const LossValue b = s.value("direct_cm", s.trainable(), s.frozen(), ode);
  CHECK(at::equal(a.t, b.t));
  CHECK(most(a.per_row - b.per_row) < 1e-14);
}

TEST_CASE("a perfect student has no loss") {
  Setting s(gaussian, "steps = 12\nsigma_max = 10", "rk45", "rtol = 1e-10\natol = 1e-10");
  const auto flow_map = std::make_shared<FlowMapEvaluator>(s.form);
  const Model perfect(flow_map, s.host.process(), s.form);
  const Ode ode(*s.teacher);
  for (const char* loss : {"cm", "direct_cm"}) {
    CAPTURE(loss);
    // F is recovered by division by c_out, which is small near the data: errors of the label's float32 grow there.
    CHECK(most(s.value(loss, perfect, perfect, ode).per_row) < 1e-9);
    CHECK(s.value(loss, s.trainable(), s.frozen(), ode).per_row.mean().item<double>() > 1e-3);
  }
  CHECK(most(s.value("direct_cm", perfect, perfect, ode, 1, "distance = \"pseudo_huber\"").per_row) < 1e-6);
}

TEST_CASE("knowledge distillation compares one step from pure noise with the closed form of the ODE's end") {
  Setting s(gaussian, "steps = 12\nsigma_max = 10", "rk45", "rtol = 1e-10\natol = 1e-10");
  const Ode ode(*s.teacher);
  const auto generator = [&](std::shared_ptr<CompiledNetwork> network) {
    return Model(std::move(network), s.host.process(), s.form, {}, Makes::generator);
  };
  const Model perfect = generator(std::make_shared<FlowMapEvaluator>(s.form));
  CHECK(most(s.value("knowledge_distillation", perfect, perfect, ode).per_row) < 1e-9);
  const Model student = generator(s.host.backend().trainable(s.network));
  const LossValue value = s.value("knowledge_distillation", student, student, ode);
  CHECK(most(value.t - 10) < 1e-12);
  const Tensor x = 10 * normal_like(at::zeros({64, 1}, at::kDouble), seeded(1, "loss"));
  const double shrunk = 0.4 / std::sqrt(0.4 * 0.4 + 10.0 * 10.0);
  const Tensor end = 0.3 + shrunk * (x - 0.3), made = student.data(x, value.t, {});
  CHECK(most(value.per_row - (made - end).square().squeeze(1)) < 1e-6);
}

TEST_CASE("gradients reach the student and nothing else") {
  Setting s;
  Setting other;
  for (const char* loss : {"cm", "direct_cm", "denoising"}) {
    CAPTURE(loss);
    const Ode ode(*s.teacher);
    const Model target{other.host.backend().trainable(other.network), s.host.process(),
                       s.form};  // would take gradients if it were let
    s.value(loss, s.trainable(), target, ode).per_row.mean().backward();
    for (const Tensor& p : s.network->module()->parameters()) {
      CHECK(p.grad().defined());
      p.mutable_grad() = Tensor();
    }
    for (const Tensor& p : other.network->module()->parameters()) {
      CHECK(!p.grad().defined());
    }
  }
}

TEST_CASE("losses see the same times and noise, and are reproducible") {
  Setting s;
  const Ode ode(*s.teacher);
  const LossValue a = s.value("cm", s.trainable(), s.frozen(), ode, 5);
  const LossValue b = s.value("direct_cm", s.trainable(), s.frozen(), ode, 5);
  CHECK(at::equal(a.t, b.t));
  CHECK(at::equal(a.per_row, s.value("cm", s.trainable(), s.frozen(), ode, 5).per_row));
  CHECK(!at::equal(a.t, s.value("cm", s.trainable(), s.frozen(), ode, 6).t));
}

TEST_CASE("direct_cm regresses on the endpoint of each row's own solve") {
  Setting s;
  const Ode ode(*s.teacher);
  // With f = x (F chosen so), the l2 loss is the squared distance that the ODE moves each row.
  const Tensor grid = s.schedule->times(s.host.process());
  const Tensor index = s.schedule->draw(grid.size(0) - 1, 64, seeded(1, "loss"));
  at::Generator generator = seeded(1, "loss");
  s.schedule->draw(grid.size(0) - 1, 64, generator);
  const Tensor clean = normal({64, 1}, 9) * 0.5;
  const Tensor t = grid.index_select(0, index);
  const Tensor x = s.host.process().add_noise(clean, normal_like(clean, generator), t);
  const LossValue value = s.value("direct_cm", s.trainable(), s.frozen(), ode);
  REQUIRE(at::equal(value.t, t));
  for (int64_t row = 0; row < 8; ++row) {
    Tensor state = x.narrow(0, row, 1);
    for (int64_t i = index[row].item<int64_t>(); i + 1 < grid.size(0); ++i) {
      state = take_step(*s.solver, ode, state, grid[i].view({1}), grid[i + 1].view({1}));
    }
    const at::NoGradGuard no_grad;
    const Tensor f = s.frozen().consistency(x.narrow(0, row, 1), t.narrow(0, row, 1), {});
    CHECK(value.per_row[row].item<double>() == doctest::Approx((f - state).square().item<double>()).epsilon(1e-10));
  }
}

TEST_CASE("direct_cm reuses trajectories: pairs share a solve, and lie on it") {
  Setting s("means = [[0.3]]\nstds = [[0.4]]");
  const Model student = s.trainable();
  const auto cost = [&](const std::string& toml) {
    const Ode ode(*s.teacher);
    s.value("direct_cm", student, student, ode, 1, toml);
    return ode.evaluations();
  };
  // 12 intervals from the noisiest time; Heun's last step, into sigma = 0, is Euler's.
  CHECK(cost("pairs = 4") == 16 * (2 * 11 + 1));
  CHECK(cost("pairs = 64") == 1 * (2 * 11 + 1));
  CHECK(cost("pairs = 5") == 13 * (2 * 11 + 1));
  CHECK(cost("") > 3 * cost("pairs = 8"));
  // The flow map of the Gaussian is right along the whole of a fine trajectory.
  Setting fine("means = [[0.3]]\nstds = [[0.4]]", "steps = 200\nsigma_max = 10");
  const Model perfect{std::make_shared<FlowMapEvaluator>(fine.form), fine.host.process(), fine.form};
  CHECK(fine.value("direct_cm", perfect, perfect, Ode(*fine.teacher), 1, "pairs = 8").per_row.max().item<double>() <
        1e-6);
}

TEST_CASE("EDM's denoising loss is lambda(sigma) times the squared error of D") {
  Setting s;
  const Model model = s.frozen();
  const Tensor t = times({0.3, 2.0});
  const Tensor x0 = normal({2, 1}, 3), n = normal({2, 1}, 4);
  const Tensor x = s.host.process().add_noise(x0, n, t);
  const Tensor in_f = (model.raw(x, t, {}) - s.form.target(s.host.process(), t, x0, n)).square().squeeze(1);
  const Tensor lambda = (t * t + 0.25) / (t * 0.5).square();
  CHECK(most(in_f - lambda * (model.data(x, t, {}) - x0).square().squeeze(1)) < 1e-10);
}

TEST_CASE("the exact teacher's prediction minimises the denoising loss") {
  Setting s(gaussian);
  const Model best(std::make_shared<TeacherEvaluator>(*s.teacher, s.form), s.host.process(), s.form);
  const Ode ode(*s.teacher);
  const auto loss = [&](const Model& m) {
    double sum = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const Batch batch{0.3 + normal({256, 1}, seed) * 0.4, {}};
      const TrainingStep step{.batch = batch,
                              .student = m,
                              .target = m,
                              .ode = &ode,
                              .process = s.host.process(),
                              .generator = seeded(seed, "loss")};
      sum += (*s.host.make_plugin<Loss>("denoising"))(step).per_row.mean().item<double>();
    }
    return sum / 20;
  };
  CHECK(loss(best) < loss(s.frozen()));
  CHECK(loss(best) > 0.05);  // the noise in the data remains
}

TEST_CASE("every boundary is the identity where it must be") {
  Setting s;
  const Tensor x = normal({5, 1}, 2);
  const auto model = [&](const std::string& toml) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "student", nullptr);
    return Model(s.host.backend().compile(s.network), s.host.process(), s.form, Boundary(p, s.form));
  };
  const auto at_time = [](double t) { return at::full({5}, t, at::kDouble); };
  CHECK(most(model("boundary = \"edm\"").consistency(x, at_time(0), {}) - x) < 1e-14);
  CHECK(most(model("boundary = \"sigma_shifted\"\nsigma_min = 0.002").consistency(x, at_time(0.002), {}) - x) < 1e-14);
  CHECK(most(model("boundary = \"time_scaled\"").consistency(x, at_time(0), {}) - x) < 1e-14);
  // OpenAI's scalings: c_skip = sd^2 / ((t - eps)^2 + sd^2), c_out = sd (t - eps) / sqrt(t^2 + sd^2), of F
  const double t = 1.7, eps = 0.002, sd = 0.5;
  const Tensor f = model("boundary = \"sigma_shifted\"").consistency(x, at_time(t), {});
  const Tensor raw = s.frozen().raw(x, at_time(t), {});
  CHECK(most(f - (sd * sd / ((t - eps) * (t - eps) + sd * sd) * x +
                  sd * (t - eps) / std::sqrt(t * t + sd * sd) * raw)) < 1e-12);
}

TEST_CASE("distances are their formulas") {
  const Tensor a = times({1, -2, 0.5, 3}).view({2, 2}), b = times({0, 0, 0.5, 0}).view({2, 2});
  const auto distance = [&](const std::string& toml) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "loss", nullptr);
    return Distance(p)(a, b);
  };
  CHECK(most(distance("distance = \"l2\"") - times({2.5, 4.5})) < 1e-14);
  CHECK(most(distance("distance = \"l1\"") - times({1.5, 1.5})) < 1e-14);
  const auto huber = [](double d, double c) { return std::sqrt(d * d + c * c) - c; };
  CHECK(most(distance("distance = \"pseudo_huber\"\nhuber_c = 0.1") -
             times({(huber(1, 0.1) + huber(2, 0.1)) / 2, huber(3, 0.1) / 2})) < 1e-14);
  CHECK(most(distance("distance = \"pseudo_huber_vector\"\nhuber_c = 0.1") -
             times({huber(std::sqrt(5.0), 0.1), huber(3, 0.1)})) < 1e-14);
  CHECK(most(distance("distance = \"cauchy\"\nhuber_c = 0.1") -
             times({std::log(1 + 5 / 0.02), std::log(1 + 9 / 0.02)})) < 1e-14);
}
