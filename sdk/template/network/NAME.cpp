/// A perceptron for points whose hidden layers are scaled and shifted by the noise level (FiLM).
///
///     [network]
///     type = "@name@"
///     width = 96
///     depth = 3
#include <retort/host.h>
#include <retort/plugin.h>

#include <ATen/ops/cat.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>

using namespace retort;
namespace nn = torch::nn;

namespace {

// The module owns the weights; the host lists, copies, averages and saves them through it.
struct Body : nn::Module {
  Body(int64_t dimension, int64_t width, int64_t depth) {
    input = register_module("input", nn::Linear(dimension, width));
    for (int64_t i = 0; i < depth; ++i) {
      hidden.push_back(register_module("hidden" + std::to_string(i), nn::Linear(width, width)));
      film.push_back(register_module("film" + std::to_string(i), nn::Linear(3, 2 * width)));
    }
    output = register_module("output", nn::Linear(width, dimension));
  }

  Tensor forward(const Tensor& x, const Tensor& noise) {
    const Tensor level = noise.to(x.scalar_type()).unsqueeze(1);
    const Tensor features = at::cat({level, (2 * level).sin(), (2 * level).cos()}, 1);
    Tensor h = input(x.flatten(1));
    for (size_t i = 0; i < hidden.size(); ++i) {
      const auto scale_and_shift = film[i](features).chunk(2, 1);
      h = h + (hidden[i](h) * (1 + scale_and_shift[0]) + scale_and_shift[1]).tanh();
    }
    return output(h).view(x.sizes());
  }

  nn::Linear input{nullptr}, output{nullptr};
  std::vector<nn::Linear> hidden, film;
};

}  // namespace

class @Name@ final : public Network {
 public:
  explicit @Name@(Params& p) {
    const int64_t width = p.get("width", 96, "units of a hidden layer", at_least(1));
    const int64_t depth = p.get("depth", 3, "hidden layers", at_least(1));
    if (p.is_describing()) {  // `retort inspect` builds plugins without a host
      return;
    }
    const ModelSpec spec = p.host().spec();
    if (spec.classes() > 0) {
      throw RequestError("network '@name@' knows no classes; give it an unconditional task");
    }
    int64_t dimension = 1;
    for (const int64_t n : spec.shape) {
      dimension *= n;
    }
    body_ = std::make_shared<Body>(dimension, width, depth);
  }

  // x: [B, …]; c_noise: [B], a label of order one for the noise level.
  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning&) override {
    return body_->forward(x, c_noise);
  }
  // What it reads of the conditions: class labels, embeddings, …
  std::vector<std::string> inputs() const override { return {}; }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<Body> body_;
};

RETORT_PLUGIN(@Name@, network, @name@)
