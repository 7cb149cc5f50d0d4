// Losses of the consistency family where the flow map of the teacher is known.
#include <cmath>

#include "retort/dataset.h"
#include "support/consistency_lesson.h"

using namespace retort;
using namespace retort::test;

namespace {

// The exact consistency function of data that are N(0.3, 0.16), as EDM's F, in operations that carry derivatives.
class ExactMap final : public Network {
 public:
  Tensor forward(const Tensor& in, const Tensor& label, const Conditioning&) override {
    const Tensor t = (label.to(at::kDouble).unsqueeze(1) * 4).exp(), square = t * t + 0.25;
    const Tensor x = in * square.sqrt(), end = 0.3 + (0.16 / (0.16 + t * t)).sqrt() * (x - 0.3);
    return (end - 0.25 / square * x) / (0.5 * t / square.sqrt()) + error;
  }
  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  Tensor error = at::zeros({1}, at::TensorOptions().dtype(at::kDouble)).requires_grad_(true);

 private:
  std::shared_ptr<torch::nn::Module> module_ = std::make_shared<torch::nn::Module>();
};

}  // namespace

TEST_CASE("where the teacher's flow map is known, a student that says it is left alone") {
  Lesson l("rk45");
  l.teacher = l.host.make_plugin<Teacher>("gaussian_mixture", "means = [[0.3, 0.3]]\nstds = [0.4]");
  const auto exact = std::make_shared<ExactMap>();
  l.network = exact;
  l.other = exact;
  const auto size = [&](const std::string& loss, const std::string& toml) {
    const Model student = l.model(exact);
    const Ode ode(*l.teacher);
    const TrainingStep step{.batch = {l.data, {}},
                            .student = student,
                            .target = student,
                            .ode = &ode,
                            .solver = l.solver.get(),
                            .schedule = l.schedule.get(),
                            .process = l.host.process(),
                            .generator = seeded(1, "lesson"),
                            .progress = 0.5};
    return test::most((*l.host.make_plugin<Loss>(loss, toml))(step).per_row);
  };
  const std::pair<const char*, const char*> losses[] = {
      {"horizon", "steps = 3"},
      {"horizon", "random = true\nsteps = 0"},
      {"scm", "velocity = \"teacher\"\ntangent = \"plain\"\nderivative = \"jvp\""},
      {"scm", "velocity = \"teacher\"\ntangent = \"plain\""},
      {"continuous_cm", "velocity = \"teacher\"\nderivative = \"jvp\""}};
  for (const auto& [loss, toml] : losses) {
    CAPTURE(loss);
    CAPTURE(toml);
    exact->error.set_data(at::zeros({1}, at::kDouble));
    CHECK(size(loss, toml) < 1e-7);
    exact->error.set_data(at::full({1}, 0.3, at::kDouble));
    CHECK(size(loss, toml) > 1e-3);
  }
}

namespace {

// Trains a small network from its own beginning, and says how far f is from the exact end of the teacher's ODE, over
// states at times of the grid: root of the mean square.
double distance_to_the_flow(const std::string& loss_name, const std::string& toml) {
  constexpr int64_t steps = 500;
  constexpr double rate = 0.03;
  TestHost host("type = \"ve\"", ModelSpec{{1}});
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>("heun"),
             fine = host.make_plugin<Solver>("rk45", "rtol = 1e-8\natol = 1e-8");
  const auto schedule = host.make_plugin<Schedule>("karras", "steps = 12\nsigma_max = 5\nsigma_min = 0.05");
  const auto data = host.make_plugin<Dataset>("gaussian_mixture", mixture_1d);
  const auto loss = host.make_plugin<Loss>(loss_name, toml);
  const TinyWeights begin = TinyWeights::random(5, 1, 1, 1, 32);
  const auto network = std::make_shared<TinyNetwork>(begin), average = std::make_shared<TinyNetwork>(begin);
  const auto model = [&](const std::shared_ptr<Network>& of) {
    return Model(host.backend().trainable(of), host.process(), Parametrisation(Predicts::edm, 0.5));
  };
  const Model student = model(network), other = model(average);
  const std::vector<Tensor> weights = network->module()->parameters(), followers = average->module()->parameters();
  const auto follow = [&](double decay) {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < weights.size(); ++i) {
      followers[i].mul_(decay).add_(weights[i], 1 - decay);
    }
  };
  follow(0);
  const Tensor grid = schedule->times(host.process());
  const Tensor t = grid.index_select(0, at::arange(600, at::kLong) % 12);
  const Tensor x = host.process().add_noise(data->batch(Split::test, at::arange(600, at::kLong)).x,
                                            normal({600, 1}, 8).to(at::kFloat), t);
  const Tensor ends = solve(Ode(*teacher), *fine, grid, x.to(at::kDouble), t);
  std::vector<Tensor> first(weights.size()), second(weights.size());
  for (int64_t k = 0; k < steps; ++k) {
    const auto index = static_cast<uint64_t>(k);
    const Ode ode(*teacher);
    TrainingStep step{
        .batch = data->batch(Split::train, at::randint(0, 4000, {128}, seeded(1, "rows", index), at::kLong)),
        .student = student,
        .target = loss->roles().empty() ? student : other,
        .ode = &ode,
        .solver = solver.get(),
        .schedule = schedule.get(),
        .process = host.process(),
        .generator = seeded(1, "training", index),
        .progress = static_cast<double>(k) / static_cast<double>(steps),
        .index = k};
    (*loss)(step).per_row.mean().backward();
    const at::NoGradGuard no_grad;
    const double decays = 0.5 * (1 + std::cos(step.progress * 3.14159));
    for (size_t i = 0; i < weights.size(); ++i) {  // Adam
      const Tensor g = weights[i].grad().defined() ? weights[i].grad().clone() : at::zeros_like(weights[i]);
      first[i] = k == 0 ? 0.1 * g : 0.9 * first[i] + 0.1 * g;
      second[i] = k == 0 ? 0.01 * g * g : 0.99 * second[i] + 0.01 * g * g;
      const double n = static_cast<double>(k + 1), one = 1 - std::pow(0.9, n), two = 1 - std::pow(0.99, n);
      weights[i].sub_(rate * decays * (first[i] / one) / ((second[i] / two).sqrt() + 1e-8));
      weights[i].mutable_grad() = Tensor();
    }
    follow(0.95);
  }
  const at::NoGradGuard no_grad;
  return rms(student.consistency(x, t, {}) - ends);
}

}  // namespace

TEST_CASE("a short training approaches the exact flow map, as a denoiser's does not") {
  const std::pair<const char*, std::string> losses[] = {{"horizon", "steps = 3"},
                                                        {"horizon", "steps = 0\nrandom = true"},
                                                        {"ct", ""},
                                                        {"ect", ""},
                                                        {"scm", ""},
                                                        {"scm", "velocity = \"teacher\""},
                                                        {"scm", "velocity = \"teacher\"\nderivative = \"jvp\""},
                                                        {"continuous_cm", ""},
                                                        {"continuous_cm", "velocity = \"teacher\""}};
  CHECK(distance_to_the_flow("denoising", "") > 0.3);
  for (const auto& [loss, toml] : losses) {
    const double apart = distance_to_the_flow(loss, toml);
    MESSAGE(std::string(loss) << ", " << toml << ": " << apart);
    CHECK(apart < 0.25);
  }
}
