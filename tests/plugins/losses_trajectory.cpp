// Reflow, shortcut, LCM, PCM, CTM, consistency flow matching and IMM: values and gradients against formulas written
// here, on process "rectified_flow", x_t = (1 - t) x0 + t n, where the network says u = dx/dt and a DDIM step is
// Euler's.
#include <cmath>
#include <set>

#include "support/support.h"
#include "support/tiny_network.h"

using namespace retort;
using namespace retort::test;

namespace {

constexpr int64_t batch_rows = 6;

Tensor col(const Tensor& c) { return c.unsqueeze(1); }
Tensor mean_square(const Tensor& d) { return d.square().mean(1); }
Tensor huber(const Tensor& d) { return ((d.square() + 1e-6).sqrt() - 1e-3).mean(1); }
Tensor indices(std::vector<int64_t> values) { return at::tensor(values, at::kLong); }

// What the network is told of time and of an interval: numbers of float32.
Tensor told(const Tensor& t) { return t.to(at::kFloat).to(at::kDouble); }
Tensor u(const TinyWeights& net, const Tensor& x, const Tensor& t) { return net(x, {told(t)}); }
Tensor u(const TinyWeights& net, const Tensor& x, const Tensor& t, const Tensor& s) {
  return net(x, {told(t), told(t - s)});
}

// A teacher whose velocity grows with the guidance weight.
class Guided final : public Teacher {
 public:
  explicit Guided(std::shared_ptr<Teacher> inner) : inner_(std::move(inner)) {}
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    const Tensor v = Ode(*inner_).velocity(x, t), w = condition[retort::inputs::guidance];
    return w.defined() ? v + col(w) : v;
  }
  const Process& process() const override { return inner_->process(); }
  Parametrisation parametrisation() const override { return {Predicts::flow, 0.5}; }
  std::vector<int64_t> shape() const override { return inner_->shape(); }

 private:
  std::shared_ptr<Teacher> inner_;
};

// A step of a loss on tiny networks, whose draws are brought, and the same networks for a formula.
struct World {
  TestHost host{"type = \"rectified_flow\"", ModelSpec{{2}}};
  Guided teacher{host.make_plugin<Teacher>("gaussian_mixture", "means = [[-1, 0.5], [0.6, -0.7]]\nstds = [0.3, 0.5]")};
  std::shared_ptr<Solver> solver = host.make_plugin<Solver>("ddim");
  Tensor x0 = normal({batch_rows, 2}, 1) * 0.5, noise = normal({batch_rows, 2}, 2);
  Tensor grid = at::linspace(1, 0, 9, at::kDouble), interval = indices({0, 2, 4, 5, 7, 1});
  Conditioning condition;
  TinyWeights student, target, discriminator;
  std::shared_ptr<TinyNetwork> network, target_network, discriminator_network;

  explicit World(int64_t columns)
      : student(TinyWeights::random(1, 2, columns, 2).leaves()),
        target(TinyWeights::random(2, 2, columns, 2).leaves()),
        discriminator(TinyWeights::random(3, 2, 1, 2).leaves()),
        network(std::make_shared<TinyNetwork>(student)),
        target_network(std::make_shared<TinyNetwork>(target)),
        discriminator_network(std::make_shared<TinyNetwork>(discriminator)) {}

  LossValue run(const std::string& name, const std::string& toml, const std::vector<Tensor>& numbers) {
    const auto loss = host.make_plugin<Loss>(name, toml);
    const auto model = [&](const std::shared_ptr<TinyNetwork>& of) {
      return Model(host.backend().trainable(of), host.process(), {Predicts::flow, 0.5}, {}, loss->makes(),
                   loss->needs().end_time && of != discriminator_network);
    };
    const Model own = model(network), other = model(target_network), judge = model(discriminator_network);
    const Ode ode(teacher, condition);
    const ToldSchedule schedule(grid, interval);
    size_t next = 0;
    TrainingStep step{.batch = {x0, condition},
                      .student = own,
                      .target = other,
                      .ode = &ode,
                      .solver = solver.get(),
                      .schedule = &schedule,
                      .process = host.process(),
                      .generator = seeded(0, "unused"),
                      .spec = {{2}},
                      .brought = [&](std::string_view) { return numbers.at(next++); }};
    for (const Role& role : loss->roles()) {
      if (role.name == "discriminator") {
        step.roles.push_back({role.name, &judge, true});
      }
    }
    LossValue out = (*loss)(step);
    CHECK(next == numbers.size());
    return out;
  }

  Tensor at(const Tensor& index) const { return grid.index_select(0, index); }
  Tensor noised(const Tensor& t) const { return col(1 - t) * x0 + col(t) * noise; }
  // The solver's step.
  Tensor step(const Tensor& x, const Tensor& t, const Tensor& s) const {
    const at::NoGradGuard no_grad;
    return x + col(s - t) * Ode(teacher, condition).velocity(x, t);
  }

  // The loss's value, its gradients, and that no other network has any.
  void agree(const Tensor& got, const Tensor& formula, const std::shared_ptr<TinyNetwork>& of,
             const TinyWeights& weights) const {
    CHECK(most(got - formula) < 1e-12 * (1 + most(formula)));
    formula.mean().backward({}, /*retain_graph=*/true);
    got.mean().backward({}, /*retain_graph=*/true, /*create_graph=*/false, of->module()->parameters());
    for (const auto& p : of->module()->named_parameters()) {
      CAPTURE(p.key());
      const Tensor wanted = weights.at.at(p.key()).grad();
      REQUIRE(p.value().grad().defined());
      CHECK(most(p.value().grad() - wanted) < 1e-11 * (1 + most(wanted)));
      CHECK(most(wanted) > 1e-6);
    }
  }
  void agree(const LossValue& got, const Tensor& formula) const {
    agree(got.per_row, formula, network, student);
    got.per_row.mean().backward({}, /*retain_graph=*/true);
    for (const Tensor& p : target_network->module()->parameters()) {
      CHECK(!p.grad().defined());
    }
  }
};

}  // namespace

TEST_CASE("reflow is the velocity of the straight line from noise to the end of the teacher's ODE") {
  const Tensor drawn = times({0.0, 0.15, 0.4, 0.62, 0.8, 0.97});
  for (const std::string toml : {"", "times = \"steps\"\nsteps = 4", "times = \"steps\""}) {
    CAPTURE(toml);
    World w(1);
    const LossValue value = w.run("reflow", toml, {w.noise, drawn});
    Tensor end = w.noise;
    for (int64_t i = 0; i < 8; ++i) {
      end = w.step(end, w.at(at::full({batch_rows}, i, at::kLong)), w.at(at::full({batch_rows}, i + 1, at::kLong)));
    }
    const Tensor t = toml.empty()            ? 1 - drawn
                     : toml.ends_with("= 4") ? times({1, 1, 0.75, 0.5, 0.25, 0.25})
                                             : at::ones({batch_rows}, at::kDouble);
    CHECK(most(value.t - t) < 1e-15);
    w.agree(value, mean_square(u(w.student, col(1 - t) * end + col(t) * w.noise, t) - (w.noise - end)));
  }
}

TEST_CASE("reflow's u-shaped times have the density exp(a t) + exp(a (1 - t))") {
  World w(1);
  constexpr int64_t count = 1000;
  w.x0 = at::zeros({count, 2}, at::kDouble);
  const Tensor place = (at::arange(count, at::kDouble) + 0.5) / count;
  const Tensor t =
      std::get<0>(w.run("reflow", "times = \"u_shaped\"\nsharpness = 3", {normal({count, 2}, 4), place}).t.sort());
  const Tensor below = 0.5 + 0.5 * ((3 * t).expm1() - (3 * (1 - t)).expm1()) / std::expm1(3.0);
  CHECK(most(below - place) < 2.0 / count);  // the halves are sorted into each other
  CHECK(w.host.make_plugin<Loss>("reflow", "times = \"steps\"")->makes() == Makes::generator);
  CHECK(w.host.make_plugin<Loss>("reflow", "times = \"steps\"\nsteps = 2")->makes() == Makes::flow_map);
}

TEST_CASE("shortcut holds a jump to two of half its length, and the finest to the data's velocity") {
  const Tensor share = times({0.1, 0.2, 0.3, 0.4, 0.6, 0.9}), level = times({0.1, 0.4, 0.99, 0.7, 0.5, 0.5});
  const Tensor place = times({0.5, 0.7, 0.6, 0.1, 0.55, 0.99});
  for (const bool zero : {true, false}) {
    for (const double clip : {0.0, 0.4}) {
      CAPTURE(zero);
      CAPTURE(clip);
      World w(2);
      const LossValue value = w.run("shortcut",
                                    std::string("bootstrap_share = 0.5\nfinest = 8\nfinest_jump = \"") +
                                        (zero ? "zero" : "step") + "\"\nclip = " + std::to_string(clip),
                                    {share, level, place, w.noise});
      // Lengths 2^-k of k = 0, 1, 2, 2, from multiples of themselves; then two of the finest, 1 / 8.
      const Tensor d = times({1, 0.5, 0.25, 0.25, 0.125, 0.125}), t = times({1, 1, 0.75, 0.25, 0.625, 1});
      CHECK(most(value.t - t) < 1e-15);
      const Tensor x = w.noised(t), finest = d <= 0.25;
      const auto cut = [&](const Tensor& y) { return clip > 0 ? y.clamp(-clip, clip) : y; };
      const auto end = [&](const Tensor& from) { return zero ? at::where(finest, from, from - d / 2) : from - d / 2; };
      const Tensor first = u(w.target, x, t, end(t)), middle = cut(x - col(d / 2) * first);
      const Tensor mean = cut((first + u(w.target, middle, t - d / 2, end(t - d / 2))) / 2).detach();
      const Tensor bootstrapped = d > 0.2;
      const Tensor wanted = at::where(col(bootstrapped), mean, w.noise - w.x0);
      const Tensor s = at::where(bootstrapped.logical_or(at::full({batch_rows}, !zero)), t - d, t);
      w.agree(value, mean_square(u(w.student, x, t, s) - wanted));
    }
  }
}

TEST_CASE("shortcut's jumps never lead beyond the data, and are of every length alike") {
  World w(2);
  constexpr int64_t count = 4096;
  w.x0 = normal({count, 2}, 5);
  const auto at = [&](uint64_t seed) { return at::rand({count}, seeded(seed, "test"), at::kDouble); };
  const Tensor level = at(1);
  const Tensor t = w.run("shortcut", "bootstrap_share = 1", {at(0), level, at(2), normal({count, 2}, 6)}).t;
  const Tensor d = (-(level * 7).floor()).exp2();  // 1 … 1 / 64
  CHECK(t.max().item<double>() == 1);
  CHECK((t >= d).all().item<bool>());
  CHECK(at::equal((t / d).round(), t / d));
  CHECK(contains(request_error([&] { w.host.make_plugin<Loss>("shortcut", "finest = 12"); }), "no power of two"));
}

TEST_CASE("lcm is consistency distillation over k intervals, at each row's own guidance weight") {
  for (const std::string target : {"ema", "student"}) {
    CAPTURE(target);
    World w(2);
    const Tensor weight = times({3, 5, 7, 9, 11, 15});
    w.condition.set(retort::inputs::guidance, weight);
    w.interval = indices({0, 2, 4, 6, 3, 1});
    const LossValue value = w.run("lcm", "skip = 2\ntarget = \"" + target + "\"", {w.noise});
    const Tensor t = w.at(w.interval), s = w.at(w.interval + 2), x = w.noised(t), x_s = w.step(x, t, s);
    const auto f = [&](const TinyWeights& net, const Tensor& state, const Tensor& time) {
      return state - col(time) * net(state, {told(time), told(weight.log1p())});
    };
    // At the end of the grid f is the identity: t = 0.
    w.agree(value, huber(f(w.student, x, t) - f(w.target, x_s, s).detach()));
    CHECK(w.host.make_plugin<Loss>("lcm", "target = \"" + target + "\"")->roles().size() == (target == "ema" ? 1 : 0));
  }
  CHECK_THROWS_AS(World(1).host.make_plugin<Loss>("lcm", "skip = 9")->check_times(at::linspace(1, 0, 9)), Error);
}

TEST_CASE("pcm jumps from both ends of an interval to the end of its phase") {
  World w(1);
  const LossValue value = w.run("pcm", "phases = 3", {w.noise});
  // round(8 k / 3): phases end at places 3, 5 and 8 of the grid; those of intervals 0, 2, 4, 5, 7, 1:
  const Tensor t = w.at(w.interval), s = w.at(w.interval + 1), end = w.at(indices({3, 3, 5, 8, 8, 3}));
  const Tensor x = w.noised(t), x_s = w.step(x, t, s);
  w.agree(value, huber(x + col(end - t) * u(w.student, x, t) - (x_s + col(end - s) * u(w.target, x_s, s)).detach()));
  CHECK_THROWS_AS(w.host.make_plugin<Loss>("pcm", "phases = 9")->check_times(w.grid), Error);
  CHECK_NOTHROW(w.host.make_plugin<Loss>("pcm", "phases = 8")->check_times(w.grid));
}

TEST_CASE("pcm's discriminator sees both ends noised to a time of the phase, by the hinge loss") {
  World w(1);
  const Tensor part = times({0.1, 0.9, 0.5, 0.3, 0.7, 0.0}), n1 = normal({batch_rows, 2}, 7),
               n2 = normal({batch_rows, 2}, 8);
  const LossValue value =
      w.run("pcm", "phases = 3\ngan_weight = 0.1\ndiscriminator = \"mlp\"", {w.noise, part, n1, n2});
  const Tensor t = w.at(w.interval), s = w.at(w.interval + 1);
  const Tensor begin = w.at(indices({0, 0, 3, 5, 5, 0})), end = w.at(indices({3, 3, 5, 8, 8, 3}));
  const Tensor x = w.noised(t), x_s = w.step(x, t, s);
  const Tensor made = x + col(end - t) * u(w.student, x, t);
  const Tensor wanted = (x_s + col(end - s) * u(w.target, x_s, s)).detach();
  const Tensor to = end + part * (begin - end), scale = (1 - to) / (1 - end);
  const Tensor missing = (to * to - (scale * end).square()).sqrt();
  const auto logit = [&](const Tensor& y, const Tensor& n) {
    return u(w.discriminator, col(scale) * y + col(missing) * n, to).mean(1);
  };
  w.agree(value.roles.at("discriminator"), (1 + logit(made.detach(), n2)).relu() + (1 - logit(wanted, n1)).relu(),
          w.discriminator_network, w.discriminator);
  w.agree(value, huber(made - wanted) + 0.1 * (1 - logit(made, n2)).relu());
}

TEST_CASE("ctm compares two ways to time s where they lead at the end, through a jump whose weights are fixed") {
  const Tensor how_far = times({0.9, 0.0, 0.6, 0.99, 0.5, 0.3}), where = times({0.0, 0.99, 0.5, 0.2, 0.7, 0.4});
  const Tensor z = times({0.3, -1, 0.5, 1, -0.2, 0}), other = normal({batch_rows, 2}, 7);
  for (const bool at_end : {true, false}) {
    for (const bool denoising : {true, false}) {
      CAPTURE(at_end);
      CAPTURE(denoising);
      World w(2);
      std::vector<Tensor> numbers = {how_far, where, w.noise};
      if (denoising) {
        numbers.insert(numbers.end(), {z, other});
      }
      const LossValue value = w.run("ctm",
                                    std::string("solver_steps = 3\ncompare = ") + (at_end ? "\"at_end\"" : "\"at_s\"") +
                                        "\ndenoising_weight = " + (denoising ? "0.7" : "0"),
                                    numbers);
      // From places 0, 2, 4, 5, 7, 1 by 1 + floor(3 r) intervals, but not beyond the end; then to a place up to 8.
      const Tensor at_u = indices({3, 3, 6, 8, 8, 2}), at_s = indices({3, 8, 7, 8, 8, 4});
      const Tensor t = w.at(w.interval), s = w.at(at_s), from = w.at(at_u);
      Tensor x_u = w.noised(t);
      for (int64_t k = 0; k < 3; ++k) {
        const Tensor place = (w.interval + k).clamp_max(7);
        const Tensor moved = w.step(x_u, w.at(place), w.at(place + 1));
        x_u = at::where(col(w.interval + k < at_u), moved, x_u);
      }
      const auto jump = [](const TinyWeights& net, const Tensor& x, const Tensor& a, const Tensor& b) {
        return x + col(b - a) * u(net, x, a, b);
      };
      Tensor made = jump(w.student, w.noised(t), t, s), wanted = jump(w.target, x_u, from, s).detach();
      if (at_end) {
        TinyWeights fixed;
        for (const auto& [name, tensor] : w.student.at) {
          fixed.at[name] = tensor.detach();
        }
        made = jump(fixed, made, s, at::zeros_like(s));
        wanted = jump(fixed, wanted, s, at::zeros_like(s));
      }
      Tensor formula = mean_square(made - wanted);
      if (denoising) {
        const Tensor level = (z * 1.2 - 1.2).exp(), time = level / (1 + level);
        const Tensor x = col(1 - time) * w.x0 + col(time) * other;
        const Tensor error = mean_square(x - col(time) * u(w.student, x, time, time) - w.x0);
        formula = formula + 0.7 * (1 / level.square() + 4) * error;
      }
      w.agree(value, formula);
    }
  }
}

TEST_CASE("consistency flow matching leads along straight lines to one place, in each segment") {
  World w(1);
  const Tensor place = times({1, 0.7, 0.525, 0.45, 0.3, 0.03});
  const LossValue value =
      w.run("consistency_fm", "segments = 2\ninterval = 0.05\nvelocity_weight = 0.3\ndata_below = 0.26",
            {1 - place, w.noise});
  const Tensor t = place, s = times({0.95, 0.65, 0.5, 0.4, 0.25, 0}), end = times({0.5, 0.5, 0.5, 0, 0, 0});
  const Tensor x = w.noised(t), x_s = w.noised(s), v = u(w.student, x, t), v_s = u(w.target, x_s, s).detach();
  const Tensor of_data = s <= 0.26, inside = of_data.logical_or(s == 0.5).logical_not();
  const Tensor wanted = at::where(col(of_data), w.noised(end), x_s + col(end - s) * v_s);
  w.agree(value, mean_square(x + col(end - t) * v - wanted) + 0.3 * inside.to(at::kDouble) * mean_square(v - v_s));
}

TEST_CASE("imm is the squared discrepancy of each group under its Laplace kernel, also of a group that is not whole") {
  for (const bool two_times : {true, false}) {
    CAPTURE(two_times);
    World w(two_times ? 2 : 1);
    // Groups of 4 and 2; other rows' draws are not used.
    const Tensor a = times({0.7, 0, 0, 0, 0.4, 0}), b = times({0.3, 9, 9, 9, 0.999, 9});
    const LossValue value = w.run("imm",
                                  std::string("decrement = 0.2\na = 2\nb = 4\nkernel_scale = 3\nnetwork_input = ") +
                                      (two_times ? "\"t_and_s\"" : "\"t\""),
                                  {a, b, w.noise});
    const auto grouped = [](const Tensor& c) { return c.index_select(0, indices({0, 0, 0, 0, 4, 4})); };
    const Tensor t = grouped(0.001 + 0.993 * a), s = grouped(b) * t;
    CHECK(most(value.t - t) < 1e-15);
    const Tensor eta = t / (1 - t) - 0.2, r = at::maximum(eta / (1 + eta), s);
    CHECK(r[0].item<double>() > s[0].item<double>());   // of the first group by the decrement,
    CHECK(r[5].item<double>() == s[5].item<double>());  // of the second s itself
    const auto jump = [&](const Tensor& from) {
      const Tensor x = w.noised(from);
      return x + col(s - from) * (two_times ? u(w.student, x, from, s) : u(w.student, x, from));
    };
    const Tensor y = jump(t), z = jump(r).detach();
    const Tensor log_snr = 2 * ((1 - t) / t).log(), falls = 2 / (t * (1 - t));
    const Tensor weight = 0.5 / (1 + (log_snr - 4).exp()) * falls * (1 - t).square() / ((1 - t).square() + t.square());
    const Tensor sharpness = 3 / (t - s);
    std::vector<Tensor> out;
    for (int64_t i = 0; i < batch_rows; ++i) {
      const int64_t first = i < 4 ? 0 : 4, members = i < 4 ? 4 : 2;
      const auto k = [&](const Tensor& one, const Tensor& two) {
        const Tensor square = (one - two).square().sum();
        const Tensor distance = square.item<double>() == 0 ? at::full({}, 1e-8, at::kDouble) : square.sqrt();
        return (-sharpness[i] * distance / 2).exp();
      };
      Tensor sum = at::zeros({}, at::kDouble);
      for (int64_t j = first; j < first + members; ++j) {
        sum = sum + k(y[i], y[j]) + k(z[i], z[j]) - k(y[i], z[j]) - k(y[j], z[i]);
      }
      out.push_back(weight[i] * sum / static_cast<double>(members));
    }
    w.agree(value, at::stack(out));
  }
}

TEST_CASE("trajectory losses have finite gradients at weights of zeros and of ones, and for equal rows") {
  const std::tuple<const char*, const char*, int64_t> kinds[] = {{"reflow", "", 1},
                                                                 {"reflow", "times = \"u_shaped\"", 1},
                                                                 {"shortcut", "", 2},
                                                                 {"lcm", "", 1},
                                                                 {"pcm", "phases = 2", 1},
                                                                 {"ctm", "", 2},
                                                                 {"consistency_fm", "", 1},
                                                                 {"imm", "", 2},
                                                                 {"imm", "network_input = \"t\"", 1}};
  for (const auto& [name, toml, columns] : kinds) {
    for (const double number : {0.0, 1.0}) {
      for (const bool equal : {false, true}) {
        CAPTURE(name);
        CAPTURE(number);
        World w(columns);
        for (const auto& network : {w.network, w.target_network}) {
          for (Tensor& p : network->module()->parameters()) {
            p.set_data(at::full_like(p, number));
          }
        }
        if (equal) {
          w.x0.fill_(0.3);
        }
        const auto loss = w.host.make_plugin<Loss>(name, toml);
        const Model model(w.host.backend().trainable(w.network), w.host.process(), {Predicts::flow, 0.5}, {},
                          loss->makes(), loss->needs().end_time);
        const Ode ode(w.teacher);
        const ToldSchedule schedule(w.grid, w.interval);
        const LossValue value = (*loss)({.batch = {w.x0, {}},
                                         .student = model,
                                         .target = model,
                                         .ode = &ode,
                                         .solver = w.solver.get(),
                                         .schedule = &schedule,
                                         .process = w.host.process(),
                                         .generator = seeded(3, "test")});
        value.per_row.mean().backward();
        double largest = 0;
        for (const Tensor& p : w.network->module()->parameters()) {
          REQUIRE(p.grad().isfinite().all().item<bool>());
          largest = std::max(largest, most(p.grad()));
        }
        CHECK(largest > 0);
      }
    }
  }
}
