// Times drawn by the size of the loss: what is drawn, that the mean stays, and what its network learns.
#include "losses/importance.h"

#include <cmath>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// A network that knows the size of the loss: log m = slope * (the noise label).
class Knows final : public CompiledNetwork {
 public:
  explicit Knows(double slope) : slope_(slope) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning&) override {
    return rows(slope_ * c_noise, x) * at::ones_like(x);
  }

 private:
  double slope_;
};

// Velocities on a rectified flow: the label is the time, 0 to 1.
struct Draw {
  TestHost host{"type = \"rectified_flow\""};
  Model model;
  explicit Draw(double slope)
      : model(std::make_shared<Knows>(slope), host.process(), Parametrisation(Predicts::flow, 1)) {}

  template <class F>
  auto with(const std::string& toml, int64_t count, F f) {
    const Value table = parse_toml(toml, "test.toml");
    Params p(table, "loss", &host);
    const NoiseTimes times(p);
    const Importance importance(p);
    p.finish();
    TrainingStep step{.batch = {at::zeros({count, 2}), {}},
                      .student = model,
                      .target = model,
                      .process = host.process(),
                      .generator = seeded(5, "importance"),
                      .roles = {{"importance", &model, true}}};
    return f(step, times, importance);
  }

  Importance::Drawn operator()(const std::string& toml, int64_t count) {
    return with(toml, count, [](const TrainingStep& step, const NoiseTimes& times, const Importance& importance) {
      return importance.draw(step, times);
    });
  }
};

}  // namespace

TEST_CASE("without importance, times are those of the density, and weigh nothing else") {
  Draw draw(2);
  const Importance::Drawn drawn = draw("times = \"uniform\"\nt_min = 0.0", 100);
  CHECK_FALSE(drawn.weight.defined());
  CHECK(drawn.t.equal(at::rand({100}, seeded(5, "importance"), at::TensorOptions().dtype(at::kDouble))));
}

TEST_CASE("times are drawn in proportion to the size of the loss, and the mean of a loss stays") {
  const int64_t count = 200'000;
  const auto n = static_cast<double>(count);
  for (const std::string density :
       {"times = \"uniform\"\nt_min = 0.0", "times = \"logit_normal\"", "stratified = true"}) {
    CAPTURE(density);
    Draw plain(0), draw(2);
    const Tensor t = plain(density, count).t;
    const Importance::Drawn drawn = draw(density + "\nimportance = true\nimportance_places = 256", count);
    // Any function of the time has its mean.
    const auto mean_of = [&](auto f) {
      const Tensor a = f(t), b = f(drawn.t) * drawn.weight;
      const double error = std::sqrt(a.var().item<double>() / n + b.var().item<double>() / n);
      CHECK(std::abs(a.mean().item<double>() - b.mean().item<double>()) < 4.5 * error + 1e-4);
    };
    mean_of([](const Tensor& x) { return x.cos(); });
    mean_of([](const Tensor& x) { return x.square(); });
    // A loss of that very size has hardly any variance.
    const auto size = [](const Tensor& x) { return (2 * x).exp(); };
    const double before = size(t).var().item<double>(), after = (size(drawn.t) * drawn.weight).var().item<double>();
    CHECK(after < 0.01 * before);
  }
}

TEST_CASE("in strata, rows of importance have a place of their own too") {
  Draw draw(2);
  const int64_t count = 1000;
  const Tensor t =
      draw("times = \"uniform\"\nt_min = 0.0\nstratified = true\nimportance = true\nimportance_places = 512", count).t;
  const Tensor mass = ((2 * t).exp() - 1) / (std::exp(2.0) - 1) * static_cast<double>(count);
  const Tensor off = mass - at::arange(count, at::kDouble) - 0.5;  // from the middle of its stratum
  CHECK(off.abs().max().item<double>() < 0.5 + 1.5);               // the places' steps, and the thousandth
}

TEST_CASE("uniform times in proportion to e^2t have its distribution function") {
  const int64_t count = 100'000;
  Draw draw(2);
  const Tensor t = draw("times = \"uniform\"\nt_min = 0.0\nimportance = true\nimportance_places = 512", count).t;
  const Tensor sorted = std::get<0>(t.sort());
  const Tensor mass = ((2 * sorted).exp() - 1) / (std::exp(2.0) - 1);
  const Tensor place = (at::arange(count, at::kDouble) + 0.5) / static_cast<double>(count);
  CHECK((mass - place).abs().max().item<double>() < 1.63 / std::sqrt(static_cast<double>(count)) + 2e-3);
}

TEST_CASE("what the network learns is the root of the second moment, and the student's loss keeps its gradient") {
  Draw draw(0);
  draw.with("times = \"uniform\"\nimportance = true", 64,
            [](const TrainingStep& step, const NoiseTimes& times, const Importance& importance) {
              const Importance::Drawn drawn = importance.draw(step, times);
              const Tensor error = at::rand({64}, seeded(1, "errors"), at::kDouble).requires_grad_(true);
              const LossValue value = importance.value(step, drawn, error);
              CHECK((value.per_row - error * drawn.weight).abs().max().item<double>() < 1e-12);
              CHECK(value.per_row.requires_grad());
              // log m = 0 here: the value is l^2 / 2, and its slope there 1 - l^2.
              const Tensor role = value.roles.at("importance");
              CHECK_FALSE(role.requires_grad());
              CHECK((role - 0.5 * error.detach().square()).abs().max().item<double>() < 1e-6);
              return 0;
            });
}
