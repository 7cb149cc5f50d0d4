/// A small convolutional classifier, whose last hidden layer serves as the feature space of metrics.
///
/// Three stages of 3 x 3 convolution, GroupNorm and SiLU, each halving the resolution, then an average over positions
/// at four quadrants, a hidden layer (the features) and the logits.
///
///     [network]
///     type = "convnet"
///     width = 32
///     features = 64
#include <retort/host.h>
#include <retort/plugin.h>

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <ATen/ATen.h>

using namespace retort;
namespace nn = torch::nn;

namespace {

struct Body : nn::Module {
  Body(int64_t channels, int64_t width, int64_t feature_count, int64_t classes, double dropout) {
    int64_t in = channels;
    for (int i = 0; i < 3; ++i) {
      const int64_t out = width << i;
      const std::string n = std::to_string(i);
      convs.push_back(
          register_module("conv" + n, nn::Conv2d(nn::Conv2dOptions(in, out, 3).padding(1).stride(i == 0 ? 1 : 2))));
      norms.push_back(register_module("norm" + n, nn::GroupNorm(8, out)));
      in = out;
    }
    drop = register_module("drop", nn::Dropout(dropout));
    hidden = register_module("hidden", nn::Linear(in * 4, feature_count));
    logits = register_module("logits", nn::Linear(feature_count, classes));
  }

  Tensor features(const Tensor& x) {
    Tensor h = x;
    for (size_t i = 0; i < convs.size(); ++i) {
      h = at::silu(norms[i](convs[i](h)));
      if (i == 0) {
        h = at::max_pool2d(h, 2);
      }
    }
    h = at::adaptive_avg_pool2d(h, {2, 2}).flatten(1);
    return at::silu(hidden(drop(h)));
  }

  std::vector<nn::Conv2d> convs;
  std::vector<nn::GroupNorm> norms;
  nn::Linear hidden{nullptr}, logits{nullptr};
  nn::Dropout drop{nullptr};
};

}  // namespace

class ConvNet final : public Network {
 public:
  explicit ConvNet(Params& p) {
    const int64_t width =
        p.get("width", 32, "channels of the first stage, doubled at each; a multiple of 8", at_least(8));
    const int64_t features = p.get("features", 64, "size of the hidden layer that metrics read", at_least(1));
    const double dropout = p.get("dropout", 0.1, "share of inputs of the hidden layer dropped in training",
                                 {.low = 0, .high = 1, .high_open = true});
    if (width % 8 != 0) {
      throw p.error("width", std::to_string(width) + " is not a multiple of 8");
    }
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    if (spec.shape.size() != 3 || spec.classes() == 0) {
      throw p.error("type", "'convnet' classifies pictures; it needs a data set of pictures with labels");
    }
    body_ = std::make_shared<Body>(spec.shape[0], width, features, spec.classes(), dropout);
  }

  Tensor forward(const Tensor& x, const Tensor&, const Conditioning&) override {
    return body_->logits(body_->features(x));
  }
  std::vector<std::string> inputs() const override { return {}; }
  Tensor features(const Tensor& x) override { return body_->features(x); }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  std::shared_ptr<Body> body_;
};

RETORT_PLUGIN(ConvNet, network, convnet)
