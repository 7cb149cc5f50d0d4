// Losses of the consistency family: what they agree on with each other, and with formulas written here a second time.
#include <torch/nn/module.h>

#include <cmath>

#include "retort/dataset.h"
#include "support/support.h"

#include "support/tiny_network.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr const char* mixture_2d = "weights = [0.4, 0.6]\nmeans = [[-1.0, 0.3], [0.8, -0.5]]\nstds = [0.25, 0.4]";
constexpr int64_t batch = 32;

std::shared_ptr<Network> tiny(uint64_t seed) {
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

}  // namespace

TEST_CASE("a horizon of one step is CM, and one of all steps is Direct CM, to the bit") {
  for (const char* solver : {"heun", "euler", "dpmpp_2m", "unipc", "deis", "rk4"}) {
    CAPTURE(solver);
    for (const bool single : {false, true}) {
      Lesson l(solver);
      l.data = single ? l.data.to(at::kFloat) : l.data;
      for (const std::string more : {"", "distance = \"pseudo_huber\"", "weighting = \"karras\""}) {
        CAPTURE(more);
        const auto same = [&](const std::string& toml, const std::string& loss, const std::string& its) {
          const auto a = l.run("horizon", toml + more), b = l.run(loss, its + more);
          CHECK(at::equal(a.value.t, b.value.t));
          CHECK(at::equal(a.value.per_row, b.value.per_row));
          CHECK(at::equal(a.gradient, b.gradient));
          CHECK(a.evaluations == b.evaluations);
        };
        same("steps = 1\n", "cm", "");
        same("steps = 1\nrandom = true\n", "cm", "");
        same("steps = 1\ntarget = \"ema\"\n", "cm", "target = \"ema\"\n");
        same("steps = 0\n", "direct_cm", "");
        same("steps = 12\n", "direct_cm", "");
        same("steps = 1000\ntarget = \"ema\"\n", "direct_cm", "");
      }
    }
  }
}

TEST_CASE("each row's horizon is a solve of its own piece of the grid, and costs no more") {
  for (const char* solver : {"heun", "euler", "dpmpp_2m", "dpmpp_3m", "unipc", "deis", "ipndm", "rk4", "lms"}) {
    CAPTURE(solver);
    Lesson l(solver);
    const Tensor grid = l.schedule->times(l.host.process());
    const int64_t intervals = grid.size(0) - 1;
    const Tensor u = at::rand({batch}, seeded(3, "u"), at::kDouble);
    for (const int64_t steps : {2, 5, 11}) {
      for (const bool random : {false, true}) {
        CAPTURE(steps);
        const std::string toml = "steps = " + std::to_string(steps) + (random ? "\nrandom = true" : "");
        const Tensor noise = normal({batch, 2}, 5);
        // The schedule draws from the step's generator; the same draw is made here.
        at::Generator generator = seeded(1, "lesson");
        const Tensor index = l.schedule->draw(intervals, batch, generator);
        const auto got = random ? l.run("horizon", toml, {noise, u}) : l.run("horizon", toml, {noise});
        const Model student = l.model(l.network);
        const Ode ode(*l.teacher);
        const Tensor t = grid.index_select(0, index);
        const Tensor x = l.host.process().add_noise(l.data, noise, t);
        std::vector<Tensor> targets;
        for (int64_t b = 0; b < batch; ++b) {
          const int64_t i = index[b].item<int64_t>(), bound = std::min(steps, intervals - i);
          const int64_t count =
              random ? 1 + static_cast<int64_t>(u[b].item<double>() * static_cast<double>(bound)) : bound;
          const Tensor end = solve(ode, *l.solver, grid.narrow(0, i, count + 1).contiguous(), x.narrow(0, b, 1));
          const Tensor s = grid[i + count].view({1});
          targets.push_back(i + count == intervals ? end : student.consistency(end, s, {}).detach());
        }
        const Tensor f = student.consistency(x, t, {});
        const Tensor wanted = (f - at::cat(targets)).square().mean(1);
        CHECK(test::most(got.value.per_row - wanted) < 1e-12 * most(wanted));
        const Tensor gradient = Lesson::gradient(l.network, wanted.mean());
        CHECK(test::most(got.gradient - gradient) < 1e-12 * most(gradient));
        CHECK(got.evaluations == ode.evaluations());
      }
    }
  }
}

namespace {

// What the tiny network says of [X; label], and its derivative along a direction of both, by hand.
struct Said {
  Tensor value, derivative;
};
Said say(const std::shared_ptr<Network>& of, const Tensor& in, const Tensor& label, const Tensor& d_in = {},
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
Tensor denoiser(const std::shared_ptr<Network>& of, const Tensor& x, const Tensor& t) {
  const Tensor s = t.unsqueeze(1), square = s * s + 0.25;
  return 0.25 / square * x + 0.5 * s / square.sqrt() * say(of, x / square.sqrt(), t.log() / 4).value;
}

void same(const Lesson& l, const Lesson::Outcome& got, const Tensor& wanted, double tolerance = 1e-12) {
  CHECK(test::most(got.value.per_row - wanted) < tolerance * test::most(wanted));
  const Tensor gradient = Lesson::gradient(l.network, wanted.mean());
  CHECK(test::most(got.gradient - gradient) < tolerance * test::most(gradient));
}

Tensor huber(const Tensor& a, const Tensor& b, double c) { return ((a - b).square().sum(1) + c * c).sqrt() - c; }

}  // namespace

TEST_CASE("each weighting is its formula, and is the same in every loss that has one") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5);
  const auto plain = l.run("cm", "", {noise}).value;
  const Tensor grid = l.schedule->times(l.host.process()), t = plain.t;
  const Tensor next = grid.index_select(0, (grid.unsqueeze(0) >= t.unsqueeze(1)).sum(1));
  const std::pair<const char*, Tensor> formulas[] = {{"interval", 1 / (t - next)},
                                                     {"snr", 1 / (t * t)},
                                                     {"snr_plus_one", 1 / (t * t) + 1},
                                                     {"truncated_snr", at::maximum(1 / (t * t), at::ones_like(t))},
                                                     {"karras", (t * t + 0.25) / (0.25 * t * t)},
                                                     {"c_out", (t * t + 0.25).sqrt() / (0.5 * t)}};
  for (const auto& [name, weight] : formulas) {
    CAPTURE(name);
    for (const char* loss : {"cm", "horizon", "direct_cm", "ct", "ict"}) {
      CAPTURE(loss);
      const std::string key = "weighting = \"" + std::string(name) + "\"";
      const bool is_to_end = loss == std::string("direct_cm") && name == std::string("interval");
      const std::string more = loss == std::string("horizon") ? "\nsteps = 1" : "";
      const Tensor one = l.run(loss, "weighting = \"none\"" + more, {noise}).value.per_row;
      const Tensor got = l.run(loss, key + more, {noise}).value.per_row, wanted = one * (is_to_end ? 1 / t : weight);
      CHECK(test::most(got - wanted) < 1e-13 * test::most(wanted));
    }
  }
}

TEST_CASE("consistency training compares both ends of a noised interval") {
  Lesson l("heun", "steps = 12\nsigma_max = 10\nfinal_zero = false");
  const Tensor noise = normal({batch, 2}, 5);
  for (const bool average : {true, false}) {
    const auto got = l.run("ct", average ? "" : "target = \"student\"", {noise});
    const Tensor grid = l.schedule->times(l.host.process()), t = got.value.t;
    const Tensor s = grid.index_select(0, (grid.unsqueeze(0) >= t.unsqueeze(1)).sum(1));
    const Tensor f = denoiser(l.network, l.data + noise * t.unsqueeze(1), t);
    const Tensor target = denoiser(average ? l.other : l.network, l.data + noise * s.unsqueeze(1), s).detach();
    same(l, got, (f - target).square().mean(1));
    CHECK(got.evaluations == 0);
  }
}

TEST_CASE("easy consistency tuning closes in on t from the data as training goes on") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  const Tensor t = (z * 2.0 - 1.1).exp();
  for (const double progress : {0.0, 0.124, 0.125, 0.5, 0.99}) {
    CAPTURE(progress);
    for (const bool sigmoid : {true, false}) {
      l.progress = progress;
      const double part = std::floor(progress * 8);
      const Tensor n = sigmoid ? 1 + 8 / (1 + t.exp()) : at::ones_like(t);
      const Tensor r = t * (1 - n / std::pow(2.0, part + 1)).clamp_min(0);
      const Tensor target = at::where((r > 0).unsqueeze(1),
                                      denoiser(l.network, l.data + noise * r.unsqueeze(1), r.clamp_min(1e-9)), l.data)
                                .detach();
      const Tensor f = denoiser(l.network, l.data + noise * t.unsqueeze(1), t);
      const auto got = l.run(
          "ect", std::string("huber_c = 0.03\nmapping = \"") + (sigmoid ? "sigmoid\"" : "constant\""), {z, noise});
      same(l, got, huber(f, target, 0.03) / (t - r));
    }
  }
}

TEST_CASE("truncated consistency models go on above t', held there by what they were") {
  Lesson l;
  l.stage = 1;
  l.progress = 0.7;
  const Tensor noise = normal({batch, 2}, 5), u = at::rand({batch}, seeded(3, "u"), at::kDouble);
  const auto got = l.run("tcm", "huber_c = 0.03\nt_freedom = 2.0\nt_scale = 0.6\nq = 4.0\nparts = 2", {u, noise});
  const Tensor boundary = at::arange(batch, at::kLong) % 4 == 3, t = got.value.t;
  CHECK(test::most(t.masked_select(boundary) - 1) < 1e-12);
  // The distribution of Student's t with two degrees of freedom is known: F(x) = 1/2 + x / (2 sqrt(2 + x^2)).
  const auto mass = [](const Tensor& level) {
    const Tensor x = level.log() / 0.6;
    return 0.5 + x / (2 * (2 + x * x).sqrt());
  };
  const Tensor whole = mass(times({80.0})) - 0.5, others = boundary.logical_not();
  CHECK(test::most(((mass(t) - 0.5) / whole - u).masked_select(others)) < 1e-9);
  const Tensor r = t * (1 - (1 + 8 / (1 + t.exp())) / 16).clamp_min(0);
  CHECK((r < 1).masked_select(others).any().item<bool>());
  CHECK((r > 1).masked_select(others).any().item<bool>());
  const Tensor x_r = l.data + noise * r.unsqueeze(1);
  const Tensor target =
      at::where((r >= 1).unsqueeze(1), denoiser(l.network, x_r, r), denoiser(l.other, x_r, r)).detach();
  const Tensor loss = huber(denoiser(l.network, l.data + noise * t.unsqueeze(1), t), target, 0.03) / (t - r);
  same(l, got, at::where(boundary, loss * 0.1 * 4, loss / 0.75));
  CHECK(got.value.per_row.mean().item<double>() ==
        doctest::Approx((loss.masked_select(others).mean() + 0.1 * loss.masked_select(boundary).mean()).item<double>())
            .epsilon(1e-12));
  // Before, it is easy consistency tuning with that pace.
  l.stage = 0;
  l.progress = 0.3;
  const Tensor z = normal({batch}, 6);
  const auto first = l.run("tcm", "", {z, noise});
  l.progress = 0.6;
  const auto ect = l.run("ect", "", {z, noise});
  CHECK(at::equal(first.value.per_row, ect.value.per_row));
  CHECK(at::equal(first.gradient, ect.gradient));
}

namespace {

// TrigFlow by hand, on the variance-exploding process and for a network that says EDM's F, which is minus TrigFlow's.
struct Trig {
  Tensor tau, cos, sin, x, velocity, t;
  Said f;  // sd F, and cos sin times its derivative along the way

  Trig(Lesson& l, const Tensor& t_, const Tensor& noise, bool of_teacher) : t(t_) {
    tau = (t / 0.5).atan().unsqueeze(1);
    cos = tau.cos();
    sin = tau.sin();
    const Tensor z = 0.5 * noise, noised = l.data + noise * t.unsqueeze(1);
    x = cos * l.data + sin * z;
    const Ode ode(*l.teacher);
    const Tensor clean = of_teacher ? ode.data(noised, t) : l.data;
    velocity = of_teacher ? (cos * x - clean) / sin : cos * z - sin * l.data;
    const Said edm = say(l.network, x / 0.5, t.log() / 4, cos * sin * velocity / 0.5, at::full_like(t, 0.25));
    f = {-0.5 * edm.value, -0.5 * edm.derivative};
  }
};

}  // namespace

TEST_CASE("simplified continuous-time consistency is its formula, from data and from a teacher") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  const Tensor t = (z * 1.4 - 1.0).exp();
  for (const bool of_teacher : {false, true}) {
    const std::string toml = std::string("velocity = \"") + (of_teacher ? "teacher" : "data") + "\"\n";
    for (const double progress : {0.0, 0.04, 0.5}) {
      CAPTURE(progress);
      l.progress = progress;
      const double r = std::min(1.0, progress / 0.1);
      const Trig w(l, t, noise, of_teacher);
      const Tensor f = w.f.value, still = f.detach();
      const Tensor g = -w.cos.square() * (still - w.velocity) - r * (w.cos * w.sin * w.x + w.f.derivative);
      const Tensor sum = g.norm(2, {1}, true), mean = g.square().mean(1, true).sqrt();
      const std::pair<const char*, Tensor> tangents[] = {
          {"", g / (sum + 0.1)},
          {"tangent_norm = \"mean\"\ntangent_constant = 0.3", g / (mean + 0.3)},
          {"tangent = \"clipped\"", g.clamp(-1, 1)},
          {"tangent = \"plain\"", g}};
      for (const auto& [more, step] : tangents) {
        CAPTURE(more);
        const auto error = [&](const Tensor& out) { return ((out - still) / 0.5 - step).square().mean(1); };
        const auto got = l.run("scm", toml + "derivative = \"jvp\"\n" + more, {z, noise});
        same(l, got, error(f) / t, 1e-9);  // slopes of the coefficients have about twelve digits
        const auto difference = l.run("scm", toml + more, {z, noise});
        CHECK(test::most(difference.gradient - got.gradient) < 1e-3 * test::most(got.gradient));
        same(l, l.run("scm", toml + "derivative = \"jvp\"\nprior = \"none\"\n" + more, {z, noise}), error(f), 1e-9);
      }
      CHECK(l.run("scm", toml, {z, noise}).evaluations == (of_teacher ? batch : 0));
    }
  }
}

TEST_CASE("the learned variance weighs rows, and is trained by its own value alone") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6), t = (z * 1.4 - 1.0).exp();
  const auto plain = l.run("scm", "", {z, noise});
  const auto got = l.run("scm", "variance = \"learned\"", {z, noise});
  const Tensor u = say(l.other, at::zeros({batch, 2}, at::kDouble), t.log() / 4).value.mean(1);
  CHECK(test::most(got.value.per_row - plain.value.per_row * (-u).exp()) < 1e-12);
  const Tensor own = got.value.roles.at("variance"), wanted = plain.value.per_row.detach() * (-u).exp() + u;
  CHECK(test::most(own - wanted) < 1e-12);
  CHECK(test::most(Lesson::gradient(l.other, own.mean()) - Lesson::gradient(l.other, wanted.mean())) < 1e-12);
  CHECK(test::most(Lesson::gradient(l.network, own.mean() + 0 * got.value.per_row.mean())) == 0);
  CHECK(test::most(Lesson::gradient(l.other, got.value.per_row.mean() + 0 * own.mean())) == 0);
}

TEST_CASE("continuous-time consistency moves f against its derivative along the way") {
  Lesson l;
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6), t = (z * 1.2 - 1.2).exp();
  for (const bool of_teacher : {false, true}) {
    const Trig w(l, t, noise, of_teacher);
    // In EDM's terms: f = c_skip x + c_out F, x = X / cos tau, and dx/dt the noise that the way has.
    const Tensor s = t.unsqueeze(1), square = s * s + 0.25, root = square.sqrt(), x = l.data + noise * s;
    const Tensor dx = of_teacher ? (x - Ode(*l.teacher).data(x, t)) / s : noise;
    const Said f = say(l.network, x / root, t.log() / 4, dx / root - x * s / (square * root), 0.25 / t);
    const Tensor slope = 0.25 / square * dx - 0.5 * s / square.square() * x +
                         0.5 * (0.25 / (square * root)) * f.value.detach() + 0.5 * s / root * f.derivative;
    const Tensor out = denoiser(l.network, x, t);
    const auto got =
        l.run("continuous_cm",
              std::string("derivative = \"jvp\"\nvelocity = \"") + (of_teacher ? "teacher\"" : "data\""), {z, noise});
    same(l, got, 0.5 * (out - out.detach() + slope).square().sum(1), 1e-9);
    // The gradient is that of the pseudo-objective.
    const Tensor pseudo = Lesson::gradient(l.network, (out * slope).sum(1).mean());
    CHECK(test::most(got.gradient - pseudo) < 1e-9 * test::most(pseudo));
  }
}

TEST_CASE("the derivative along the way is the limit of differences, whatever the process and what is predicted") {
  const std::pair<const char*, Predicts> worlds[] = {
      {"type = \"ve\"", Predicts::edm},          {"type = \"vp_linear\"", Predicts::noise},
      {"type = \"vp_cosine\"", Predicts::v},     {"type = \"rectified_flow\"", Predicts::flow},
      {"type = \"trigonometric\"", Predicts::v}, {"type = \"rectified_flow\"", Predicts::data},
      {"type = \"vp_linear\"", Predicts::edm}};
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  for (const auto& [process, predicts] : worlds) {
    CAPTURE(process);
    CAPTURE(static_cast<int>(predicts));
    Lesson l("heun", "steps = 12", process);
    l.form = Parametrisation(predicts, 0.5);
    l.progress = 0.5;
    const auto by = [&](const std::string& loss, const std::string& toml) {
      return l.run(loss, toml + "\nlog_sigma_mean = -0.5\nlog_sigma_std = 0.7", {z, noise}).gradient;
    };
    for (const char* loss : {"scm", "continuous_cm"}) {
      const Tensor exact = by(loss, "derivative = \"jvp\"");
      const auto apart = [&](const char* step) {
        return test::most(by(loss, std::string("difference_step = ") + step) - exact) / test::most(exact);
      };
      CHECK(apart("0.005") < 1e-3);
      // Of second order, down to the float32 of the label.
      CHECK(apart("0.1") > 10 * apart("0.01"));
    }
  }
}

TEST_CASE("continuous-time losses are of the signal-to-noise ratio, not of the process") {
  const Tensor noise = normal({batch, 2}, 5), z = normal({batch}, 6);
  for (const char* loss : {"scm", "continuous_cm"}) {
    for (const char* velocity : {"data", "teacher"}) {
      CAPTURE(velocity);
      const auto on = [&](const char* process) {
        Lesson l("heun", "steps = 12", process);
        l.form = Parametrisation(Predicts::edm, 0.5, Sees::edm);
        l.progress = 0.5;
        return l.run(loss, std::string("derivative = \"jvp\"\nvelocity = \"") + velocity + "\"", {z, noise});
      };
      const auto ve = on("type = \"ve\"");
      for (const char* process : {"type = \"rectified_flow\"", "type = \"vp_linear\"", "type = \"trigonometric\""}) {
        CAPTURE(process);
        const auto other = on(process);
        // Labels that differ in the last place may be rounded to either side.
        CHECK(test::most(other.value.per_row - ve.value.per_row) < 1e-6 * test::most(ve.value.per_row));
        CHECK(test::most(other.gradient - ve.gradient) < 1e-6 * test::most(ve.gradient));
      }
    }
  }
}

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

TEST_CASE("impossible settings of the consistency family are refused") {
  TestHost host("type = \"ve\"", ModelSpec{{2}});
  const auto error = [&](const char* loss, const char* toml) {
    return request_error([&] { host.make_plugin<Loss>(loss, toml); });
  };
  CHECK(contains(error("horizon", "steps = -1"), "steps"));
  CHECK(contains(error("ect", "q = 1.0"), "q"));
  CHECK(contains(error("tcm", "transition = 90.0"), "transition < noisiest"));
  CHECK(contains(error("tcm", "boundary_share = 1.0"), "boundary_share"));
  CHECK(contains(error("scm", "tangent = \"none\""), "clipped"));
  CHECK(contains(error("scm", "velocity = \"student\""), "teacher"));
  CHECK(contains(error("cm", "weighting = \"uniform\""), "truncated_snr"));
}

namespace {

// Trains a small network from its own beginning, and says how far f is from the exact end of the teacher's ODE, over
// states at times of the grid: root of the mean square, before and after.
std::pair<double, double> distance_to_the_flow(const std::string& loss_name, const std::string& toml, int64_t steps,
                                               double rate = 3e-3) {
  TestHost host("type = \"ve\"", ModelSpec{{1}});
  const auto teacher = host.make_plugin<Teacher>("gaussian_mixture", mixture_1d);
  const auto solver = host.make_plugin<Solver>("heun"),
             fine = host.make_plugin<Solver>("rk45", "rtol = 1e-8\natol = 1e-8");
  const auto schedule = host.make_plugin<Schedule>("karras", "steps = 12\nsigma_max = 5\nsigma_min = 0.05");
  const auto data = host.make_plugin<Dataset>("gaussian_mixture", mixture_1d);
  const auto loss = host.make_plugin<Loss>(loss_name, toml);
  at::manual_seed(3);
  const auto network = host.make_plugin<Network>("mlp", "width = 48"),
             average = host.make_plugin<Network>("mlp", "width = 48");
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
  const auto apart = [&] {
    const at::NoGradGuard no_grad;
    return rms(student.consistency(x, t, {}) - ends);
  };
  const double before = apart();
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
    step.stage = static_cast<int64_t>(step.progress * static_cast<double>(loss->stages()));
    step.roles.push_back({"first", &other, false});
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
  return {before, apart()};
}

}  // namespace

TEST_CASE("a short training approaches the exact flow map") {
  struct Training {
    const char *loss, *toml;
    int64_t steps;
    double share;
  };
  const Training trainings[] = {{"horizon", "steps = 3", 500, 0.4},
                                {"horizon", "steps = 0\nrandom = true", 500, 0.4},
                                {"ct", "", 500, 0.4},
                                {"ect", "", 500, 0.4},
                                {"scm", "velocity = \"teacher\"", 500, 0.4},
                                {"scm", "velocity = \"teacher\"\nderivative = \"jvp\"", 500, 0.4},
                                {"scm", "", 500, 0.4},
                                {"continuous_cm", "velocity = \"teacher\"", 500, 0.4}};
  for (const auto& [loss, toml, steps, share] : trainings) {
    CAPTURE(loss);
    CAPTURE(toml);
    const auto [before, after] = distance_to_the_flow(loss, toml, steps);
    MESSAGE(std::string(loss) << " " << toml << ": " << before << " -> " << after);
    CHECK(after < share * before);
  }
}
