// Losses of flow maps on the exact flow map of a Gaussian, which all of them leave as it is; and how they draw times.
#include <torch/nn/module.h>

#include "plugins/losses_flow_map.h"
#include "support/tiny_network.h"

using namespace retort;
using namespace retort::test;
using namespace retort::test::flow_map;

namespace {

// u of the exact flow map of data N(m, v), X = M(s) + S(s) / S(t) (x - M(t)) with M = (1 - t) m and
// S^2 = (1 - t)^2 v + t^2; smooth where s = t. Told no second time, it goes to 0, and at 2 - t says the velocity.
class GaussianMap final : public Network {
 public:
  GaussianMap(double mean, double variance) : module_(std::make_shared<torch::nn::Module>()) {
    mean_ = module_->register_parameter("mean", at::full({}, mean, at::kDouble));
    variance_ = module_->register_parameter("variance", at::full({}, variance, at::kDouble));
  }
  Tensor forward(const Tensor& state, const Tensor& c_noise, const Conditioning& condition) override {
    const Tensor interval = condition[retort::inputs::end_time];
    Tensor from = c_noise.to(at::kDouble), to;
    if (interval.defined()) {
      last_interval = last_interval.defined() && most(interval.detach()) == 0 ? last_interval : interval.detach();
      to = from - interval.to(at::kDouble);
    } else {
      const Tensor instant = from > 1;
      from = at::where(instant, 2 - from, from);
      to = at::where(instant, from, at::zeros_like(from));
    }
    const auto deviation = [&](const Tensor& time) { return (variance_ * (1 - time).square() + time.square()).sqrt(); };
    const Tensor slope =
        (-2 * variance_ + (variance_ + 1) * (from + to)) / ((deviation(from) + deviation(to)) * deviation(from));
    return -mean_ + row(slope) * (state - row(1 - from) * mean_);
  }
  std::shared_ptr<torch::nn::Module> module() override { return module_; }
  Tensor last_interval;

 private:
  std::shared_ptr<torch::nn::Module> module_;
  Tensor mean_, variance_;
};

const std::vector<std::pair<std::string, std::string>> all_losses = {
    {"align_your_flow", plain + "tangent_share = 1"},
    {"align_your_flow", plain + "tangent_share = 1\nform = \"lagrangian\""},
    {"tvm", plain},
    {"facm", ""},
    {"facm", "anchor = \"expanded_time\""},
    {"tim", plain + "adaptive_constant = 1\nangle_weight = 1"},
    {"anyflow", plain},
    {"imeanflow", plain + "velocity_weight = 1"},
    {"self_distillation", plain + "form = \"lagrangian\""},
    {"self_distillation", plain + "form = \"eulerian\""},
    {"self_distillation", plain + "form = \"eulerian\"\nstop_gradient = false"},
    {"self_distillation", plain + "form = \"progressive\""}};

const std::string of_teacher = "\nvelocity = \"teacher\"";

bool contains_word(const std::string& text, const char* word) { return text.find(word) != std::string::npos; }

// What losses draw: times that are multiples of 1 / 64, others at each call.
std::function<Tensor(std::string_view)> dyadic() {
  return [count = std::make_shared<int64_t>(0)](std::string_view kind) {
    const std::vector<Tensor> uniforms = {t, s, other, t.flip({0})};
    return kind == "noise" ? noise : kind == "normal" ? z : uniforms.at(static_cast<size_t>((*count)++));
  };
}

}  // namespace

TEST_CASE("the exact flow map of a Gaussian is a fixed point of every loss, and no other map is") {
  for (const auto& [name, toml] : all_losses) {
    CAPTURE(name);
    CAPTURE(toml);
    World world;
    const auto run = [&, name = name, toml = toml](double mean, double variance) {
      const auto map = std::make_shared<GaussianMap>(mean, variance);
      const LossValue value = world.run(name, toml + of_teacher + "\nderivative = \"jvp\"", map, dyadic());
      value.per_row.mean().backward();
      double gradient = 0;
      for (const Tensor& p : map->module()->parameters()) {
        gradient = std::max(gradient, most(p.grad()));
      }
      return std::pair(most(value.per_row), gradient);
    };
    const auto exact = run(0.3, 0.49), wrong = run(0.4, 0.6);
    CHECK(exact.first < 1e-14);
    CHECK(exact.second < 1e-10);
    CHECK(wrong.first > 1e-2);
    CHECK(wrong.second > 1e-2);
  }
}

TEST_CASE("a central difference errs by the square of its step") {
  for (const auto& [name, toml] : all_losses) {
    if (name == "anyflow" || contains_word(toml, "progressive") || contains_word(toml, "expanded")) {
      continue;  // rescaled to nothing; without a derivative; without times beyond the noisiest
    }
    CAPTURE(name);
    CAPTURE(toml);
    const auto root = [name = name, toml = toml](const std::string& step) {
      World world;
      const std::string keys = toml + of_teacher + "\nderivative = \"difference\"\ndifference_step = " + step;
      return world.run(name, keys, std::make_shared<GaussianMap>(0.3, 0.49), dyadic())
          .per_row.mean()
          .sqrt()
          .item<double>();
    };
    const double ratio = root("0.0078125") / root("0.00390625");
    CHECK(ratio > 3.9);
    CHECK(ratio < 4.1);
  }
}

TEST_CASE("networks that say 0, or hold equal weights, get finite gradients of a sane size") {
  for (const auto& [name, toml] : all_losses) {
    for (const double fill : {0.0, 1.0}) {
      CAPTURE(name);
      CAPTURE(toml);
      CAPTURE(fill);
      World world;
      TinyWeights weights = TinyWeights::random(3, 2, contains_word(toml, "expanded") ? 1 : 2, 2);
      for (auto& [key, tensor] : weights.at) {
        tensor.fill_(fill);
      }
      const auto network = std::make_shared<TinyNetwork>(weights);
      std::string keys = toml;  // with rows of both kinds
      if (const size_t at = keys.find("equal_share = 0\n"); at != std::string::npos) {
        keys.replace(at, 15, "equal_share = 0.5");
      }
      world.run(name, keys + of_teacher, network, {}).per_row.mean().backward();
      double gradient = 0;
      for (const Tensor& p : network->module()->parameters()) {
        REQUIRE(p.grad().isfinite().all().item<bool>());
        gradient = std::max(gradient, most(p.grad()));
      }
      CHECK(gradient > 0);
      CHECK(gradient < 1e4);
    }
  }
}

TEST_CASE("times are drawn as their densities say") {
  World world;
  constexpr int64_t rows = 20000;
  const auto u = std::make_shared<GaussianMap>(0.3, 0.49);
  struct Drawn {
    Tensor t, s;
  };
  // A loss says its times t; the end time is what its network was told.
  const auto draw = [&](const std::string& toml) {
    const LossValue value = world.run("imeanflow", toml, u, {}, 1, at::zeros({rows, 2}, at::kDouble));
    return Drawn{value.t, value.t - u->last_interval.to(at::kDouble)};
  };
  const auto quantile = [](const Tensor& a, double q) { return at::quantile(a, q).item<double>(); };
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const Drawn gap = draw("pairs = \"gap\"\nequal_share = 0");
  CHECK(quantile(gap.t - gap.s, 0.5) == doctest::Approx(sigmoid(-0.8)).epsilon(0.03));
  CHECK(quantile(gap.t - gap.s, 0.8413) == doctest::Approx(sigmoid(0.2)).epsilon(0.03));
  CHECK(quantile(gap.s / (1 - (gap.t - gap.s)), 0.25) == doctest::Approx(0.25).epsilon(0.06));
  const Drawn normal = draw("pairs = \"gap_logit_normal\"\nequal_share = 0");
  CHECK(quantile(normal.t - normal.s, 0.5) == doctest::Approx(sigmoid(-0.8)).epsilon(0.03));
  CHECK((normal.s >= -1e-6).logical_and(normal.t <= 1).all().item<bool>());
  // Among short gaps s is the whole logit-normal, but for a sliver.
  const Tensor few = (normal.t - normal.s) < 0.1;
  CHECK(quantile(normal.s.index({few}), 0.5) == doctest::Approx(sigmoid(-0.4)).epsilon(0.08));
  const Drawn shares = draw("pairs = \"uniform\"\nequal_share = 0.5\nzero_share = 0.2");
  CHECK((shares.s > shares.t - 1e-12).to(at::kDouble).mean().item<double>() == doctest::Approx(0.5).epsilon(0.03));
  CHECK((shares.s.abs() < 1e-7).to(at::kDouble).mean().item<double>() == doctest::Approx(0.1).epsilon(0.06));
  CHECK(shares.t.mean().item<double>() == doctest::Approx(2.0 / 3).epsilon(0.01));
}

TEST_CASE("a gradient through a softmax's forward-mode derivative is refused in one line, and a difference has it") {
  const Input end_time{.name = std::string(inputs::end_time), .dtype = at::kDouble};
  TestHost host("type = \"rectified_flow\"", {{1, 8, 8}, {end_time}});
  const auto network = host.make_plugin<Network>("unet", "widths = [8]\nattention = [0]\ngroups = 4");
  const Model student(host.backend().trainable(network), host.process(), {Predicts::flow, 0.5}, {}, Makes::flow_map,
                      true);
  const auto run = [&](const std::string& derivative) {
    const auto loss = host.make_plugin<Loss>("tvm", "derivative = \"" + derivative + "\"");
    const Tensor data = at::ones({2, 1, 8, 8});
    (*loss)({.batch = {data, {}},
             .student = student,
             .target = student,
             .process = host.process(),
             .generator = seeded(1, "loss")})
        .per_row.mean()
        .backward();
  };
  run("difference");
  CHECK_THROWS_WITH_AS(run("jvp"), doctest::Contains("expected loss.derivative = \"difference\""), Error);
}
