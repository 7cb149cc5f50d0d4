// Losses of flow maps, and the gradients of every weight, against their formulas with derivatives written out.
#include "plugins/losses_flow_map.h"
#include "support/tiny_network.h"

using namespace retort;
using namespace retort::test;
using namespace retort::test::flow_map;

namespace {

Tensor square_of(const Tensor& a) { return a.square().sum(1); }
Tensor mean_square(const Tensor& a) { return a.square().mean(1); }
// 1 - cos, where a vector counts as a tenth of the other's length at least
Tensor angle_of(const Tensor& a, const Tensor& b) {
  return 1 - (a * b).sum(1) / (at::maximum(a.norm(2, {1}), 0.1 * b.norm(2, {1})) * b.norm(2, {1}));
}

// The average velocity of a tiny network, and its derivative, written out.
struct U {
  TinyWeights w;
  Tensor operator()(const Tensor& at, const Tensor& from, const Tensor& to) const { return w(at, {from, from - to}); }
  Tensor slope(const Tensor& at, const Tensor& from, const Tensor& to, const Tensor& dx, double dt, double ds) const {
    const Tensor one = at::ones_like(row(from));
    const Tensor h = at::linear(at::cat({at, row(from), row(from - to)}, 1), w.at.at("W1"), w.at.at("b1")).tanh();
    return at::linear((1 - h * h) * at::linear(at::cat({dx, dt * one, (dt - ds) * one}, 1), w.at.at("W1")),
                      w.at.at("W2"));
  }
};

// Value and gradient of every weight, of a network with `columns` numbers beside x.
void compare(const std::string& name, const std::string& toml, const std::vector<Tensor>& numbers,
             const std::function<Tensor(const U&)>& formula, double progress = 1, int64_t columns = 2) {
  CAPTURE(name);
  CAPTURE(toml);
  World world;
  const TinyWeights weights = TinyWeights::random(3, 2, columns, 2);
  const auto network = std::make_shared<TinyNetwork>(weights);
  const LossValue value = world.run(name, (name == "facm" ? "" : plain) + toml, network, given(numbers), progress);
  const U u{weights.leaves()};
  const Tensor wanted = formula(u);
  CHECK(most(value.per_row - wanted) < 1e-12 * most(wanted));
  value.per_row.mean().backward();
  wanted.mean().backward();
  for (const auto& p : network->module()->named_parameters()) {
    CAPTURE(p.key());
    const Tensor exact = u.w.at.at(p.key()).grad();
    REQUIRE(most(exact) > 1e-4);
    CHECK(most(p.value().grad() - exact) < 1e-11 * most(exact));
  }
}

const std::vector<Tensor> usual = {t, s, noise};

}  // namespace

TEST_CASE("align_your_flow moves jumps against the normalised derivative along the way, or at their end") {
  const auto tangent = [](const Tensor& d) { return (d / (d.norm(2, {1}, true) + 0.1)).detach(); };
  const auto moved = [](const Tensor& a) { return a - a.detach(); };
  const auto eulerian = [&](const U& u, double r) {
    return tangent(v - u(x, t, s) + r * row(s - t) * u.slope(x, t, s, v, 1, 0));
  };
  compare("align_your_flow", "", usual,
          [&](const U& u) { return mean_square(moved(row(s - t) * u(x, t, s)) + eulerian(u, 0.99)); });
  compare(
      "align_your_flow", "warmup = 0.8", usual,
      [&](const U& u) { return mean_square(moved(row(s - t) * u(x, t, s)) + eulerian(u, 0.5)); }, 0.4);
  compare(
      "align_your_flow", "weight = \"one\"\nwarmup = 0\ntangent_share = 1", usual,
      [&](const U& u) { return mean_square(moved(-u(x, t, s)) + eulerian(u, 1)); }, 0);
  const World world;
  compare("align_your_flow", "form = \"lagrangian\"\nvelocity = \"teacher\"", usual, [&](const U& u) {
    const Tensor end = (x + row(s - t) * u(x, t, s)).detach();
    const Tensor d =
        world.ode.velocity(end, s) - u(x, t, s) - 0.99 * row(s - t) * u.slope(x, t, s, at::zeros_like(x), 0, 1);
    return mean_square(moved(row(s - t) * u(x, t, s)) + tangent(d));
  });
  World refusing;
  CHECK(contains(request_error([&] { refusing.host.make_plugin<Loss>("align_your_flow", "form = \"lagrangian\""); }),
                 "expected velocity = \"teacher\""));
}

TEST_CASE("terminal velocity matching derives in s alone, and learns the velocity at a time of its own") {
  for (const bool differentiable : {true, false}) {
    compare("tvm", std::string("derivative = \"jvp\"\nderivative_gradient = ") + (differentiable ? "true" : "false"),
            {t, s, noise, other}, [&](const U& u) {
              Tensor slope = u.slope(x, t, s, at::zeros_like(x), 0, 1);
              slope = differentiable ? slope : slope.detach();
              const Tensor end = (x + row(s - t) * u(x, t, s)).detach();
              return mean_square(u(x, t, s) + row(s - t) * slope - u(end, s, s).detach()) +
                     mean_square(u(x_at(other), other, other) - v);
            });
  }
}

TEST_CASE("flow-anchored consistency is a bounded step towards the average velocity, beside flow matching") {
  const auto formula = [](const Tensor& jump, const Tensor& slope, const Tensor& instant) {
    const Tensor step = (jump - v + row(t) * slope).detach().clamp(-1, 1);
    const Tensor e = mean_square(jump - jump.detach() + row(1 - (1 - t).sqrt()) * step);
    return (t * std::numbers::pi / 2).sin() * e / (e.detach() + 1e-3).sqrt() + mean_square(instant - v) +
           angle_of(instant, v);
  };
  const Tensor zero = at::zeros_like(t);
  compare("facm", "", {z, noise},
          [&](const U& u) { return formula(u(x, t, zero), u.slope(x, t, zero, v, 1, 0), u(x, t, t)); });
  // Without a second time a network is told 2 - t where the velocity is wanted.
  compare(
      "facm", "anchor = \"expanded_time\"", {z, noise},
      [&](const U& u) {
        const Tensor h = at::linear(at::cat({x, row(t)}, 1), u.w.at.at("W1"), u.w.at.at("b1")).tanh();
        const Tensor slope = at::linear(
            (1 - h * h) * at::linear(at::cat({v, at::ones_like(row(t))}, 1), u.w.at.at("W1")), u.w.at.at("W2"));
        return formula(u.w(x, {t}), slope, u.w(x, {2 - t}));
      },
      1, 1);
}

TEST_CASE("transition models weigh every pair alike but for the width of its jump") {
  const std::string step = "difference_step = 0.0078125\n";  // 1 / 128
  const Tensor tan = t.tan() - s.tan(), ratio = t / (1 - t) - s / (1 - s);
  const std::tuple<std::string, std::string, Tensor> weights[] = {{"sqrt", "tangent", (1 + tan).rsqrt()},
                                                                  {"reciprocal", "difference", 1 / (1 + t - s)},
                                                                  {"square", "ratio", (1 + ratio).pow(-2)},
                                                                  {"soft_min_snr", "ratio", 1 / (1 + ratio * ratio)},
                                                                  {"one", "tangent", at::ones_like(t)}};
  for (const auto& [weight, width, w] : weights) {
    for (const double angle : {0.0, 0.5}) {
      const std::string toml = step + "adaptive_constant = 0.01\nweight = \"" + weight + "\"\nwidth = \"" + width +
                               "\"\nangle_weight = " + std::to_string(angle);
      compare("tim", toml, usual, [&, w = w](const U& u) {
        const double h = 1.0 / 128;
        const Tensor slope = (u(x_at(t + h), t + h, s) - u(x_at(t - h), t - h, s)) / (2 * h);
        const Tensor target = (v - row(t - s) * slope).detach(), said = u(x, t, s);
        Tensor loss = mean_square(said - target);
        if (angle > 0) {
          loss = loss + angle * angle_of(said, target);
        }
        return at::where(s < t, w, at::ones_like(w)) * loss / (loss.detach() + 0.01);
      });
    }
  }
}

TEST_CASE("AnyFlow's jumps count what its velocities count on average") {
  const auto losses = [](const U& u, const Tensor& from, const Tensor& to) {
    const Tensor slope = u.slope(x_at(from), from, to, v, 1, 0);
    return 3.75 * from * (1 - from).sqrt() *
           mean_square(u(x_at(from), from, to) - (v - row(from - to) * slope).detach());
  };
  const auto rescaled = [](const Tensor& loss, const Tensor& instant) {
    const Tensor mean = loss.index({instant}).mean();
    return at::where(instant, loss, loss * (mean / (loss + 1e-5)).detach());
  };
  const auto detached = [&](const Tensor& loss, const Tensor& instant) {
    const Tensor scale = rescaled(loss.detach(), instant) / loss.detach();
    return loss * scale;
  };
  const std::string jvp = "derivative = \"jvp\"\n";
  compare("anyflow", jvp, usual, [&](const U& u) { return detached(losses(u, t, s), s == t); });
  // 3 t / (1 + 2 t), in multiples of 1 / 64 again
  const Tensor before_t = times({0.5, 0.25, 0.5, 0.0625}), to_t = times({0.75, 0.5, 0.75, 1.0 / 6});
  compare("anyflow", jvp + "shift = 3",
          {at::cat({before_t.narrow(0, 0, 3), before_t.narrow(0, 0, 3)}),
           at::cat({before_t.narrow(0, 1, 1), times({0.25, 0, 0, 0.25, 0.5})}), noise},
          [&](const U& u) {
            const Tensor from = at::cat({to_t.narrow(0, 0, 3), to_t.narrow(0, 0, 3)});
            const Tensor to = times({0.5, 0.5, 0, 0, 0.5, 0.75});
            return detached(losses(u, from, to), from == to);
          });
  // Without a row of s = t there is nothing to be rescaled to.
  compare("anyflow", jvp, {t, s * 0.5, noise}, [&](const U& u) { return losses(u, t, s * 0.5); });
}

TEST_CASE("improved MeanFlow derives along what the student says of the velocity") {
  for (const bool both : {false, true}) {
    compare("imeanflow", both ? "velocity_weight = 2" : "adaptive_power = 0.75", usual, [&](const U& u) {
      const auto weighed = [&](const Tensor& a) {
        const Tensor square = square_of(a);
        return square / (square.detach() + 0.01).pow(both ? 1 : 0.75);
      };
      const Tensor instant = u(x, t, t);
      const Tensor slope = u.slope(x, t, s, instant.detach(), 1, 0).detach();
      const Tensor loss = weighed(u(x, t, s) + row(t - s) * slope - v);
      return both ? loss + 2 * weighed(instant - v) : loss;
    });
  }
}

TEST_CASE("self-distillation holds the map to its own velocity by each of the three equations") {
  const Tensor instant = row((s == t).to(at::kDouble)), none = at::zeros_like(x);
  const auto or_velocity = [&](const Tensor& a) { return instant * v + (1 - instant) * a; };
  for (const bool stop : {true, false}) {
    const std::string toml =
        std::string("derivative = \"jvp\"\nstop_gradient = ") + (stop ? "true" : "false") + "\nform = ";
    const auto sg = [&](const Tensor& a) { return stop ? a.detach() : a; };
    compare("self_distillation", toml + "\"lagrangian\"", usual, [&](const U& u) {
      const Tensor end = x + row(s - t) * u(x, t, s);
      return square_of(u(x, t, s) + row(s - t) * u.slope(x, t, s, none, 0, 1) - sg(or_velocity(u(end, s, s))));
    });
    compare("self_distillation", toml + "\"eulerian\"", usual, [&](const U& u) {
      const Tensor velocity = or_velocity(u(x, t, t));
      return square_of(u(x, t, s) + row(t - s) * u.slope(x, t, s, none, 1, 0) -
                       sg(velocity - row(t - s) * u.slope(x, t, s, velocity, 0, 0)));
    });
    for (const bool midpoint : {true, false}) {
      const Tensor part = midpoint ? at::full_like(t, 0.5) : times({0.25, 0.5, 0.75, 0.5, 0.25, 0.75});
      compare("self_distillation", toml + "\"progressive\"\nsplit = " + (midpoint ? "\"midpoint\"" : "\"uniform\""),
              midpoint ? usual : std::vector<Tensor>{t, s, noise, part}, [&](const U& u) {
                const Tensor m = t + part * (s - t), first = u(x, t, m);
                const Tensor second = u(x + row(m - t) * first, m, s);
                return square_of(u(x, t, s) - sg(or_velocity(row(part) * first + row(1 - part) * second)));
              });
    }
  }
}
