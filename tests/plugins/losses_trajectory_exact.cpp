// Losses of the trajectory family where the answer is known: students that know the flow of a Gaussian have no loss,
// and training on a mixture leads to the teacher's flow, or to the data's distribution.
#include <torch/nn/module.h>
#include <torch/optim/adam.h>

#include <cmath>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

const char* const two_humps = "weights = [0.4, 0.6]\nmeans = [[1.0], [2.2]]\nstds = [0.25, 0.25]";
const char* const straight = "type = \"rectified_flow\"";
constexpr double mean = 0.3, variance = 0.16;

Tensor col(const Tensor& c) { return c.unsqueeze(1); }

// On process "rectified_flow" the data N(mean, variance) are at time t N((1 - t) mean, deviation(t)^2), and the ODE
// keeps the place within it.
Tensor deviation(const Tensor& t) { return ((1 - t).square() * variance + t.square()).sqrt(); }
Tensor way(const Tensor& x, const Tensor& t, const Tensor& s) {
  return col((1 - s) * mean) + col(deviation(s) / deviation(t)) * (x - col((1 - t) * mean));
}
Tensor velocity(const Tensor& x, const Tensor& t) {
  return -mean + col((t - (1 - t) * variance) / deviation(t).square()) * (x - col((1 - t) * mean));
}

// Says the velocity with which a straight line leads to where the ODE does: at the end time that it is told, or else at
// the end of the phase of t, or at 0 where there is one phase.
class Perfect final : public CompiledNetwork {
 public:
  explicit Perfect(double edge = 0) : edge_(edge) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const Tensor t = c_noise.to(at::kDouble), interval = condition[retort::inputs::end_time];
    const Tensor s = interval.defined() ? t - interval.to(at::kDouble)
                                        : at::where(t > edge_, at::full_like(t, edge_), at::zeros_like(t));
    const Tensor far = (t - s).abs() > 1e-9, gap = at::where(far, s - t, at::ones_like(t));
    return at::where(col(far), (way(x, t, s) - x) / col(gap), velocity(x, t));
  }

 private:
  double edge_;
};

struct World {
  TestHost host;
  std::shared_ptr<Teacher> teacher;
  std::shared_ptr<Solver> solver;
  std::shared_ptr<Schedule> schedule;
  explicit World(const std::string& mixture, const std::string& solver_name, const std::string& solver_toml,
                 const std::string& schedule_toml)
      : host(straight, ModelSpec{{1}}),
        teacher(host.make_plugin<Teacher>("gaussian_mixture", mixture)),
        solver(host.make_plugin<Solver>(solver_name, solver_toml)),
        schedule(host.make_plugin<Schedule>("uniform", schedule_toml)) {}

  LossValue value(const Loss& loss, const Model& student, const Tensor& data, uint64_t seed, double progress = 0) {
    const Ode ode(*teacher);
    return loss({.batch = {data, {}},
                 .student = student,
                 .target = student,
                 .ode = &ode,
                 .solver = solver.get(),
                 .schedule = schedule.get(),
                 .process = host.process(),
                 .generator = seeded(seed, "training"),
                 .progress = progress});
  }
};

// Trains a small network on the mixture. Returns how far its jumps from noise, in `steps` equal parts of time, are
// from the ends of the teacher's ODE, and how far their distribution is from the data's (Wasserstein's first distance),
// before and after.
struct Distances {
  double ode, data;
};
std::pair<Distances, Distances> train(const std::string& name, const std::string& toml, int64_t steps,
                                      int64_t iterations, Parametrisation form = {Predicts::flow, 0.5}) {
  World w(two_humps, "ddim", "", "steps = 16");
  const auto loss = w.host.make_plugin<Loss>(name, toml);
  if (loss->needs().end_time) {
    w.host =
        TestHost(straight, ModelSpec{{1}, {{.name = std::string(retort::inputs::end_time), .dtype = at::kDouble}}});
  }
  const auto data = w.host.make_plugin<Dataset>("gaussian_mixture", two_humps);
  at::manual_seed(1);
  const auto network = w.host.make_plugin<Network>("mlp", "width = 48\ndepth = 2");
  network->module()->train();
  const Model student(w.host.backend().trainable(network), w.host.process(), form, {}, loss->makes(),
                      loss->needs().end_time);

  constexpr int64_t count = 2000;
  const Tensor quantiles = (at::arange(count, at::kDouble) + 0.5) / count;
  const Tensor noise = at::special_ndtri(quantiles).unsqueeze(1);
  const auto fine = w.host.make_plugin<Schedule>("uniform", "steps = 400");
  const Tensor ends =
      solve(Ode(*w.teacher), *w.host.make_plugin<Solver>("dpmpp_2m"), fine->times(w.host.process()), noise);
  const auto distances = [&] {
    const at::NoGradGuard no_grad;
    Tensor x = noise.to(at::kFloat);
    for (int64_t k = 0; k < steps; ++k) {
      const auto time = [&](int64_t i) {
        return at::full({count}, 1 - static_cast<double>(i) / static_cast<double>(steps), at::kDouble);
      };
      x = loss->makes() == Makes::flow_map ? student.jump(x, time(k), time(k + 1), {})
                                           : student.endpoint(x, time(k), {});
    }
    const Tensor made = x.to(at::kDouble);
    // The ODE keeps the order of places, so its ends are the data's quantiles.
    return Distances{rms(made - ends), (std::get<0>(made.sort(0)) - ends).abs().mean().item<double>()};
  };

  const Distances before = distances();
  torch::optim::Adam optimizer(network->module()->parameters(), torch::optim::AdamOptions().betas({0.9, 0.99}));
  constexpr int64_t batch = 256;
  for (int64_t i = 0; i < iterations; ++i) {
    const Tensor rows = at::arange(i * batch, (i + 1) * batch, at::kLong).remainder(data->size(Split::train));
    const double progress = static_cast<double>(i) / static_cast<double>(iterations);
    w.value(*loss, student, data->batch(Split::train, rows).x, static_cast<uint64_t>(i), progress)
        .per_row.mean()
        .backward();
    static_cast<torch::optim::AdamOptions&>(optimizer.param_groups()[0].options()).lr(3e-3 * (1 - progress));
    optimizer.step();
    optimizer.zero_grad();
  }
  const Distances after = distances();
  MESSAGE(name << " " << toml << ": to the ODE " << before.ode << " -> " << after.ode << ", to the data " << before.data
               << " -> " << after.data);
  return {before, after};
}

}  // namespace

TEST_CASE("a student that knows the flow of a Gaussian has no trajectory loss, another has") {
  struct Kind {
    const char *loss, *toml;
    double edge;
  };
  const Kind kinds[] = {{"shortcut", "bootstrap_share = 1\nfinest_jump = \"step\"", 0},
                        {"lcm", "distance = \"l2\"", 0},
                        {"lcm", "distance = \"l2\"\nskip = 3", 0},
                        {"pcm", "distance = \"l2\"\nphases = 2", 0.5},
                        {"pcm", "distance = \"l2\"\nphases = 1", 0},
                        {"ctm", "denoising_weight = 0\nsolver_steps = 3", 0},
                        {"ctm", "denoising_weight = 0\ncompare = \"at_s\"", 0},
                        {"reflow", "times = \"steps\"", 0}};
  World w("means = [[0.3]]\nstds = [0.4]", "rk45", "rtol = 1e-11\natol = 1e-11", "steps = 8");
  const Tensor data = 0.3 + 0.4 * normal({64, 1}, 3);
  for (const Kind& kind : kinds) {
    CAPTURE(std::string(kind.loss));
    CAPTURE(std::string(kind.toml));
    const auto loss = w.host.make_plugin<Loss>(kind.loss, kind.toml);
    const auto value = [&](double edge) {
      const Model student(std::make_shared<Perfect>(edge), w.host.process(), {Predicts::flow, 0.5}, {}, loss->makes(),
                          loss->needs().end_time);
      return most(w.value(*loss, student, data, 1).per_row);
    };
    CHECK(value(kind.edge) < 1e-10);  // labels are of float32
    if (!loss->needs().end_time && kind.loss != std::string("reflow")) {
      CHECK(value(0.25) > 1e-4);  // another phase's end is not what is asked for
    }
  }
}

TEST_CASE("the denoising part of ctm is least at the data's own velocity") {
  World w("means = [[0.3]]\nstds = [0.4]", "rk45", "", "steps = 8");
  const auto loss = w.host.make_plugin<Loss>("ctm", "denoising_weight = 1");
  const Model student(std::make_shared<Perfect>(), w.host.process(), {Predicts::flow, 0.5}, {}, Makes::flow_map, true);
  const LossValue value = w.value(*loss, student, 0.3 + 0.4 * normal({20000, 1}, 3), 1);
  // E |x0 - D|^2 = v s^2 / (v + s^2), s the noise level; its weight is 1 / s^2 + 4.
  const Tensor s2 = (2 * (1.2 * normal({200000}, 4) - 1.2)).exp();
  const double expected = ((1 / s2 + 4) * variance * s2 / (variance + s2)).mean().item<double>();
  CHECK(value.diagnostics.at("denoising").item<double>() == doctest::Approx(expected).epsilon(0.03));
  CHECK(value.diagnostics.at("consistency").item<double>() < 1e-10);
}

TEST_CASE("training with a teacher leads to where its ODE does") {
  struct Kind {
    const char *loss, *toml;
    int64_t steps;
    double most;
  };
  const Kind kinds[] = {{"reflow", "times = \"steps\"", 1, 0.1},
                        {"reflow", "", 4, 0.1},
                        {"lcm", "target = \"student\"", 1, 0.25},
                        {"pcm", "phases = 2", 2, 0.25},
                        {"ctm", "target = \"student\"\nsolver_steps = 8", 1, 0.25}};
  for (const Kind& kind : kinds) {
    CAPTURE(std::string(kind.loss));
    const auto [before, after] = train(kind.loss, kind.toml, kind.steps, 600);
    CHECK(before.ode > 1.5);
    CHECK(after.ode < kind.most);
  }
}

TEST_CASE("training from data leads to its distribution") {
  struct Kind {
    const char *loss, *toml;
    int64_t steps;
    double most;
  };
  const Kind kinds[] = {{"shortcut", "target = \"student\"\nfinest = 16", 1, 0.2},
                        {"consistency_fm", "interval = 0.05", 2, 0.2},
                        {"imm", "particles = 16\ndecrement = 1.0", 1, 0.35}};
  for (const Kind& kind : kinds) {
    CAPTURE(std::string(kind.loss));
    const auto [before, after] = train(kind.loss, kind.toml, kind.steps, 800);
    CHECK(before.data > 1.5);
    CHECK(after.data < kind.most);
  }
}
