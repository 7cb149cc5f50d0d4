// Distances in the features of a network: values, and gradients that pass through the network and leave it alone.
#include "retort/distance.h"

#include <torch/nn/module.h>

#include <cmath>

#include "support/support.h"
#include "support/tiny_network.h"

using namespace retort;
using namespace retort::test;

namespace {

// Features of samples [B, 2], flat or as maps [B, 3, 2], from the tiny network.
class Seeing final : public Network {
 public:
  Seeing(const TinyWeights& weights, bool maps) : tiny_(weights), maps_(maps) {}
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return tiny_.forward(x, c_noise, condition);
  }
  Tensor features(const Tensor& x) override {
    const Tensor out = tiny_.forward(x, at::zeros({x.size(0)}, x.options()), {});
    return maps_ ? out.view({-1, 3, 2}) : out;
  }
  std::shared_ptr<torch::nn::Module> module() override { return tiny_.module(); }

 private:
  TinyNetwork tiny_;
  bool maps_;
};

// A host that has one checkpoint, "net".
class OneNetwork final : public Host {
 public:
  explicit OneNetwork(std::shared_ptr<Network> network) : network_(std::move(network)) {}
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override {
    return host_.make(kind, name, params);
  }
  const Process& process() const override { return host_.process(); }
  bool process_given() const override { return true; }
  ModelSpec spec() const override { return host_.spec(); }
  const Backend& backend() const override { return *backend_; }
  Checkpoint checkpoint(const std::string& path) override {
    asked = path;
    return {};
  }
  std::shared_ptr<Network> network(const Checkpoint&, const std::string&) override { return network_; }

  std::string asked;

 private:
  TestHost host_{"type = \"ve\"", ModelSpec{{2}}};
  std::shared_ptr<Backend> backend_ = host_.make_plugin<Backend>("cpu", "precision = \"float64\"");
  std::shared_ptr<Network> network_;
};

Distance distance(Host& host, const std::string& toml) {
  const Value table = parse_toml(toml, "test.toml");
  Params p(table, "loss", &host);
  Distance out(p);
  p.finish();
  return out;
}

const char* const by_features = "distance = \"features\"\ndistance_features = \"net\"";

// The features that the formula has, of x: [B, 2].
Tensor seen(const TinyWeights& w, const Tensor& x) {
  const Tensor h = at::cat({x, at::zeros({x.size(0), 1}, x.options())}, 1);
  return at::linear(at::linear(h, w.at.at("W1"), w.at.at("b1")).tanh(), w.at.at("W2"), w.at.at("b2"));
}

}  // namespace

TEST_CASE("the distance of features is the square of their difference; of maps, LPIPS with weights of 1") {
  for (const bool maps : {false, true}) {
    CAPTURE(maps);
    TinyWeights weights = TinyWeights::random(3, 2, 1, 6);
    const auto network = std::make_shared<Seeing>(weights, maps);
    OneNetwork host(network);
    const Distance of = distance(host, by_features);
    CHECK(host.asked.ends_with("net"));
    Tensor a = normal({4, 2}, 1).requires_grad_(true), again = a.detach().clone().requires_grad_(true);
    const Tensor b = normal({4, 2}, 2), got = of(a, b);
    const Tensor x = seen(weights, again), y = seen(weights, b);
    Tensor wanted;
    if (maps) {  // the sum over the channels c of a place, the mean over the 2 places
      std::vector<Tensor> places;
      for (int64_t place = 0; place < 2; ++place) {
        const auto at = [&](const Tensor& f) {
          const Tensor channels = at::stack({f.select(1, place), f.select(1, 2 + place), f.select(1, 4 + place)}, 1);
          return channels / channels.square().sum(1, true).sqrt();
        };
        places.push_back((at(x) - at(y)).square().sum(1));
      }
      wanted = (places[0] + places[1]) / 2;
    } else {
      wanted = (x - y).square().sum(1);
    }
    CHECK(most(got - wanted) < 1e-9);
    got.mean().backward();
    wanted.mean().backward();
    CHECK(most(again.grad()) > 1e-2);
    CHECK(most(a.grad() - again.grad()) < 1e-9);
    for (const Tensor& p : network->module()->parameters()) {
      CHECK(!p.requires_grad());
      CHECK(!p.grad().defined());
    }
    CHECK(most(of(b, b)) == 0);
  }
}

TEST_CASE("maps whose channels are all 0 have a distance, and a gradient that is finite") {
  TinyWeights weights = TinyWeights::random(3, 2, 1, 6);
  for (auto& [name, tensor] : weights.at) {
    tensor.zero_();
  }
  const auto network = std::make_shared<Seeing>(weights, true);
  OneNetwork host(network);
  const Distance of = distance(host, by_features);
  Tensor a = normal({4, 2}, 1).requires_grad_(true);
  const Tensor got = of(a, normal({4, 2}, 2));
  CHECK(most(got) == 0);
  got.sum().backward();
  CHECK(a.grad().isfinite().all().item<bool>());
}

TEST_CASE("a distance of features needs a file, and a network that has features") {
  const auto network = std::make_shared<TinyNetwork>(TinyWeights::random(3, 2, 1, 2));
  OneNetwork host(network);
  CHECK(contains(request_error([&] { distance(host, "distance = \"features\""); }), "distance_features: missing"));
  CHECK(contains(request_error([&] { distance(host, by_features); }), "cannot serve: this network has no features"));
  CHECK(contains(request_error([&] { distance(host, "distance_features = \"net\""); }), "distance_features"));
}
