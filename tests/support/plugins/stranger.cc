/// A network such as a stranger might write, of many layers that no backend knows: for the tests of backends.
#include <retort/host.h>
#include <retort/plugin.h>

#include <torch/nn/functional/activation.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

using namespace retort;
namespace nn = torch::nn;

namespace {

struct Body : nn::Module {
  explicit Body(int64_t channels) {
    input = register_module("input", nn::Conv2d(nn::Conv2dOptions(channels, 32, 5).padding(2)));
    deep = register_module("deep", nn::Conv2d(nn::Conv2dOptions(32, 32, 3).padding(1).groups(32).bias(false)));
    wide = register_module("wide", nn::Conv2d(nn::Conv2dOptions(32, 48, 3).padding(2).dilation(2)));
    down = register_module("down", nn::Conv2d(nn::Conv2dOptions(48, 48, 3).padding(1).stride(2)));
    time = register_module("time", nn::Linear(1, 48));
    norm = register_module("norm", nn::GroupNorm(6, 48));
    tokens = register_module("tokens", nn::LayerNorm(nn::LayerNormOptions({48})));
    qkv = register_module("qkv", nn::Linear(nn::LinearOptions(48, 144).bias(false)));
    heads = register_module("heads", nn::Linear(48, 48));
    up = register_module("up", nn::ConvTranspose2d(nn::ConvTranspose2dOptions(48, 32, 2).stride(2)));
    output = register_module("output", nn::Conv2d(nn::Conv2dOptions(64, channels, 1)));
  }

  Tensor forward(const Tensor& x, const Tensor& noise) {
    const Tensor first = nn::functional::relu(input(x), nn::functional::ReLUFuncOptions().inplace(true));
    Tensor h = at::gelu(wide(deep(first)));
    h = down(at::max_pool2d(h, 3, 1, 1));
    // A vector of the time is added before the norm, as in many a residual block.
    h = at::silu(norm(h + time(noise.unsqueeze(1)).unsqueeze(2).unsqueeze(3)));
    // Attention with three heads over pixels, one spelled out and one by LibTorch's function.
    const int64_t b = h.size(0), c = h.size(1), height = h.size(2), width = h.size(3);
    const Tensor sequence = h.flatten(2).transpose(1, 2);
    const auto parts = qkv(tokens(sequence)).chunk(3, 2);
    const auto split = [&](const Tensor& t) { return t.reshape({b, -1, 3, c / 3}).transpose(1, 2); };
    const Tensor q = split(parts[0]), k = split(parts[1]), v = split(parts[2]);
    const Tensor weights = at::softmax(at::matmul(q, k.transpose(2, 3)) * 0.3, -1);
    const Tensor both = at::matmul(weights, v) + at::scaled_dot_product_attention(q, k, v);
    const Tensor joined = heads(both.transpose(1, 2).reshape({b, height * width, c})) + sequence;
    h = joined.transpose(1, 2).reshape({b, c, height, width}) / 2;
    return output(at::cat({up(h), first}, 1));
  }

  nn::Conv2d input{nullptr}, deep{nullptr}, wide{nullptr}, down{nullptr}, output{nullptr};
  nn::ConvTranspose2d up{nullptr};
  nn::GroupNorm norm{nullptr};
  nn::LayerNorm tokens{nullptr};
  nn::Linear time{nullptr}, qkv{nullptr}, heads{nullptr};
};

}  // namespace

class Stranger final : public Network {
 public:
  explicit Stranger(Params& p) {
    if (!p.is_describing()) {
      body_ = std::make_shared<Body>(p.host().spec().shape[0]);
    }
  }
  Tensor forward(const Tensor& x, const Tensor& noise, const Conditioning&) override { return body_->forward(x, noise); }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<Body> body_;
};

RETORT_PLUGIN(Stranger, network, stranger)
