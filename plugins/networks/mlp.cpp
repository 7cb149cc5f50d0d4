/// A multilayer perceptron for points: residual SiLU layers on the sample, an embedding of the noise and of the class.
///
///     [network]
///     type = "mlp"
///     width = 128
///     depth = 3
#include <retort/host.h>
#include <retort/plugin.h>

#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include "../shared/embedding.h"

using namespace retort;
namespace nn = torch::nn;

namespace {

struct Body : nn::Module {
  Body(int64_t dimension, int64_t width, int64_t depth, int64_t embedding, double most, const ModelSpec& spec)
      : embedding_width(embedding), outputs(spec.outputs), frequency(most) {
    input = register_module("input", nn::Linear(dimension, width));
    noise = register_module("noise", nn::Linear(embedding, width));
    if (spec.classes() > 0) {
      label = register_module("label", nn::Embedding(spec.classes() + 1, width));
    }
    numbers = NumberInputs(*this, spec, embedding, most, width);
    for (int64_t i = 0; i < depth; ++i) {
      hidden.push_back(register_module("hidden" + std::to_string(i), nn::Linear(width, width)));
    }
    output = register_module("output", nn::Linear(width, dimension * spec.outputs));
    const at::NoGradGuard no_grad;
    output->weight.zero_();  // F = 0 at first: the student begins as its skip connection
    output->bias.zero_();
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) {
    const Tensor flat = x.flatten(1);
    Tensor h = input(flat) + noise(sinusoidal_embedding(c_noise, embedding_width, frequency, flat.scalar_type()));
    h = numbers.add_to(h, condition);
    if (const Tensor labels = condition[inputs::labels]; !label.is_empty() && labels.defined()) {
      h = h + label(labels);
    }
    for (nn::Linear& layer : hidden) {
      h = h + layer(at::silu(h));
    }
    std::vector<int64_t> shape = x.sizes().vec();
    shape[1] *= outputs;
    return output(at::silu(h)).view(shape);
  }

  int64_t embedding_width, outputs;
  double frequency;
  nn::Linear input{nullptr}, noise{nullptr}, output{nullptr};
  NumberInputs numbers;
  nn::Embedding label{nullptr};
  std::vector<nn::Linear> hidden;
};

}  // namespace

class Mlp final : public Network {
 public:
  explicit Mlp(Params& p) {
    const int64_t width = p.get("width", 128, "units of a hidden layer", at_least(1));
    const int64_t depth = p.get("depth", 3, "hidden layers", at_least(0));
    const int64_t embedding = p.get("embedding", 32, "features of the noise embedding; an even number", at_least(2));
    const double frequency = embedding_frequency(p);
    if (embedding % 2 != 0) {
      throw p.error("embedding", std::to_string(embedding) + " is odd; expected an even number");
    }
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    int64_t dimension = 1;
    for (const int64_t n : spec.shape) {
      dimension *= n;
    }
    body_ = std::make_shared<Body>(dimension, width, depth, embedding, frequency, spec);
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return body_->forward(x, c_noise, condition);
  }
  std::vector<std::string> inputs() const override { return input_names(!body_->label.is_empty(), body_->numbers); }
  std::string weights_of(const std::string& input) const override { return body_->numbers.weights_of(input); }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<Body> body_;
};

RETORT_PLUGIN(Mlp, network, mlp)
