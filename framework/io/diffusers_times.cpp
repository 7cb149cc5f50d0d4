#include "io/diffusers_times.h"

#include <ATen/ATen.h>

#include "retort/params.h"

namespace retort {

namespace {

constexpr const char* scale_key = "timestep_scale";
constexpr const char* score_key = "gives_score";

class ForeignNetwork final : public Network {
 public:
  ForeignNetwork(std::shared_ptr<Network> network, ForeignTimes times) : network_(std::move(network)), times_(times) {}

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const Tensor time = c_noise.defined() ? c_noise * times_.scale : c_noise;
    const Tensor out = network_->forward(x, time, condition);
    if (!times_.gives_score) {
      return out;
    }
    std::vector<int64_t> shape(static_cast<size_t>(out.dim()), 1);
    shape[0] = out.size(0);
    return out * -time.view(shape).to(out.device(), out.scalar_type());  // eps = -sigma score
  }
  std::vector<std::string> inputs() const override { return network_->inputs(); }
  std::string weights_of(const std::string& input) const override { return network_->weights_of(input); }
  Tensor features(const Tensor& x) override { return network_->features(x); }
  std::shared_ptr<torch::nn::Module> module() override { return network_->module(); }

 private:
  std::shared_ptr<Network> network_;
  ForeignTimes times_;
};

}  // namespace

void ForeignTimes::write(Value& network) const {
  if (scale != 1) {
    network[scale_key] = Value{scale, {}};
  }
  if (gives_score) {
    network[score_key] = Value{true, {}};
  }
}

ForeignTimes ForeignTimes::take(Value& network) {
  ForeignTimes out;
  if (!network.is_table()) {
    return out;
  }
  Params p(network, "network", nullptr);
  out.scale = p.get(scale_key, 1.0, "", more_than(0));
  out.gives_score = p.get(score_key, false, "");
  network.erase(scale_key);
  network.erase(score_key);
  return out;
}

std::shared_ptr<Network> ForeignTimes::around(std::shared_ptr<Network> network) const {
  return empty() ? network : std::make_shared<ForeignNetwork>(std::move(network), *this);
}

}  // namespace retort
