#include <torch/nn/module.h>

#include "io/files.h"
#include "io/json.h"
#include "support/support.h"
#include "train/optimizer.h"

using namespace retort;
using namespace retort::test;

namespace {

struct Vector final : Network {
  struct Body : torch::nn::Module {
    Body() { w = register_parameter("w", at::tensor({0.5, -1.0, 2.0, 0.0}, at::kDouble)); }
    Tensor w;
  };
  std::shared_ptr<Body> body = std::make_shared<Body>();
  Tensor forward(const Tensor& x, const Tensor&, const Conditioning&) override { return x * body->w; }
  std::shared_ptr<torch::nn::Module> module() override { return body; }
};

TrainSettings settings(const std::string& toml) {
  const Value table = parse_toml(toml, "test.toml");
  Params p(table, "train", nullptr);
  return TrainSettings(p);
}

}  // namespace

TEST_CASE("optimizers take the same steps as torch.optim") {
  const Json fixture = Json::parse(read_text(source_dir() + "/tests/parity/optimizers.json"));
  for (const auto& [name, end] : fixture["ends"].items()) {
    CAPTURE(std::string(name));
    const TrainSettings s = settings("optimizer = \"" + name +
                                     "\"\nlearning_rate = 0.01\nbeta2 = 0.99\nmomentum = 0.9\nweight_decay = 0.1");
    Vector network;
    const Weights weights(network);
    Optimizer optimizer(weights, s);
    Tensor w = network.body->w;
    for (int64_t k = 0; k < 30; ++k) {
      w.mutable_grad() = (at::arange(4, at::kDouble) + k).sin() + w.detach() / 10;
      optimizer.step(k, k);
    }
    CHECK(most(w.detach() - times(end.get<std::vector<double>>())) < 1e-6);  // the fused kernels count steps in float32
  }
}

TEST_CASE("the rate warms up and falls as a cosine") {
  const TrainSettings s = settings("steps = 110\nlearning_rate = 2.0\nwarmup = 10\nlr_schedule = \"cosine\"");
  Vector network;
  const Weights weights(network);
  const Optimizer optimizer(weights, s);
  CHECK(optimizer.rate(0) == doctest::Approx(0.2));
  CHECK(optimizer.rate(9) == doctest::Approx(2.0));
  CHECK(optimizer.rate(60) == doctest::Approx(1.0));
  CHECK(optimizer.rate(109) < 0.001);
}

TEST_CASE("gradients are clipped to their joint norm") {
  Vector network;
  Tensor w = network.body->w;
  w.mutable_grad() = at::tensor({3.0, 0.0, 4.0, 0.0}, at::kDouble);
  CHECK(clip_gradients({w}, 1.0).item<double>() == doctest::Approx(5));
  CHECK(w.grad().norm().item<double>() == doctest::Approx(1).epsilon(1e-5));
  CHECK(clip_gradients({w}, 0.0).item<double>() == doctest::Approx(1).epsilon(1e-5));
}

TEST_CASE("sgd without momentum is plain descent") {
  const TrainSettings s = settings("optimizer = \"sgd\"\nlearning_rate = 0.5");
  Vector network;
  const Weights weights(network);
  Optimizer optimizer(weights, s);
  Tensor w = network.body->w;
  w.mutable_grad() = at::ones({4}, at::kDouble);
  optimizer.step(0, 0);
  CHECK(most(w.detach() - times({0, -1.5, 1.5, -0.5})) < 1e-12);
}
