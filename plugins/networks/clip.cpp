/// Two small towers, of pictures and of their captions, that are trained to meet: CLIP.
///
/// The picture tower is a residual ConvNet whose last maps are averaged in four quadrants. The text tower is a
/// transformer over the words of `input_ids`, in both directions and blind to the zeros behind them; the mean over its
/// words counts. A layer each leads to embeddings of `width` numbers. The output [B, 2 width] has both, that of the
/// picture first, of length sqrt(s): so their products are cosines times s = exp(logit_scale), a weight, at most 100.
///
/// The trained network serves in three ways. Its features, for fd and its like, are the picture's embedding before it
/// is brought to that length. The data set `emoji` makes prompt_embeds and pooled_prompt_embeds of its text tower. And
/// the cosine of both is a CLIP score. Given `input_ids` alone, it returns [B, L + 1, width]: what became of each word,
/// and behind them the text's embedding, before its length is set. Source: Radford et al. 2021 (arXiv 2103.00020),
/// section 2.4 and figure 3.
///
///     [network]
///     type = "clip"
///     vocabulary = 1750
///     widths = [32, 64, 96, 128]
///     width = 128
///     layers = 3
#include <retort/host.h>
#include <retort/plugin.h>

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "../shared/attention.h"

using namespace retort;
namespace nn = torch::nn;

namespace {

constexpr std::string_view ids_input = "input_ids";

struct Sizes {
  std::vector<int64_t> widths;
  int64_t groups, blocks, vocabulary, length, width, layers, heads;
  double dropout;
};

nn::Conv2d conv3(int64_t in, int64_t out, int64_t stride = 1) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

// x + conv(silu(norm(conv(silu(norm(x))))))
struct Residual : nn::Module {
  Residual(int64_t width, int64_t groups) {
    norm1 = register_module("norm1", nn::GroupNorm(groups, width));
    conv1 = register_module("conv1", conv3(width, width));
    norm2 = register_module("norm2", nn::GroupNorm(groups, width));
    conv2 = register_module("conv2", conv3(width, width));
  }
  Tensor forward(const Tensor& x) { return x + conv2(at::silu(norm2(conv1(at::silu(norm1(x)))))); }
  nn::GroupNorm norm1{nullptr}, norm2{nullptr};
  nn::Conv2d conv1{nullptr}, conv2{nullptr};
};

// Each stage halves the sides.
struct PictureTower : nn::Module {
  PictureTower(int64_t channels, const Sizes& s) {
    int64_t in = channels;
    for (size_t i = 0; i < s.widths.size(); ++i) {
      const std::string n = std::to_string(i);
      downs.push_back(register_module("down" + n, conv3(in, s.widths[i], 2)));
      in = s.widths[i];
      for (int64_t j = 0; j < s.blocks; ++j) {
        blocks.push_back(
            register_module("block" + n + "_" + std::to_string(j), std::make_shared<Residual>(in, s.groups)));
      }
    }
    norm = register_module("norm", nn::GroupNorm(s.groups, in));
    drop = register_module("drop", nn::Dropout(s.dropout));
    constexpr int64_t quadrants = 4;
    projection = register_module("projection", nn::Linear(nn::LinearOptions(quadrants * in, s.width).bias(false)));
  }

  // [B, width]
  Tensor forward(Tensor x) {
    const size_t per_stage = blocks.size() / downs.size();
    for (size_t i = 0; i < downs.size(); ++i) {
      x = downs[i](x);
      for (size_t j = 0; j < per_stage; ++j) {
        x = blocks[i * per_stage + j]->forward(x);
      }
    }
    return projection(drop(at::adaptive_avg_pool2d(at::silu(norm(x)), {2, 2}).flatten(1)));
  }

  std::vector<nn::Conv2d> downs;
  std::vector<std::shared_ptr<Residual>> blocks;
  nn::GroupNorm norm{nullptr};
  nn::Dropout drop{nullptr};
  nn::Linear projection{nullptr};
};

struct TextLayer : nn::Module {
  TextLayer(int64_t width, int64_t heads) {
    norm1 = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({width})));
    attention = register_module("attention", std::make_shared<Attention>(width, width, heads));
    norm2 = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({width})));
    constexpr int64_t wider = 4;
    ff0 = register_module("ff0", nn::Linear(width, wider * width));
    ff1 = register_module("ff1", nn::Linear(wider * width, width));
  }
  // x: [B, L, width]; mask: [B, L]
  Tensor forward(Tensor x, const Tensor& mask) {
    const Tensor own = norm1(x);
    x = x + attention->forward(own, own, mask);
    return x + ff1(at::gelu(ff0(norm2(x))));
  }
  nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  std::shared_ptr<Attention> attention;
  nn::Linear ff0{nullptr}, ff1{nullptr};
};

struct TextTower : nn::Module {
  explicit TextTower(const Sizes& s) : vocabulary(s.vocabulary) {
    // CLIP's beginnings: of words with a standard deviation of 0.02, of places with one of 0.01.
    words = register_parameter("words", at::randn({s.vocabulary, s.width}) * 0.02);
    places = register_parameter("places", at::randn({s.length, s.width}) * 0.01);
    for (int64_t i = 0; i < s.layers; ++i) {
      layers.push_back(register_module("layer" + std::to_string(i), std::make_shared<TextLayer>(s.width, s.heads)));
    }
    norm = register_module("norm", nn::LayerNorm(nn::LayerNormOptions({s.width})));
    drop = register_module("drop", nn::Dropout(s.dropout));
    projection = register_module("projection", nn::Linear(nn::LinearOptions(s.width, s.width).bias(false)));
  }

  // What became of each word. [B, L, width]
  Tensor tokens(const Tensor& ids, const Tensor& mask) {
    Tensor x;
    try {
      x = at::embedding(words, ids);
    } catch (const c10::IndexError&) {
      throw Error("input_ids have a word beyond its `vocabulary` of " + std::to_string(vocabulary));
    }
    x = drop(x + places);
    for (const auto& layer : layers) {
      x = layer->forward(x, mask);
    }
    return norm(x);
  }

  // [B, width]
  Tensor pooled(const Tensor& tokens, const Tensor& mask) {
    const Tensor weight = mask.to(tokens.scalar_type()).unsqueeze(2);
    return projection((tokens * weight).sum(1) / weight.sum(1).clamp_min(1));
  }

  int64_t vocabulary;
  Tensor words, places;
  std::vector<std::shared_ptr<TextLayer>> layers;
  nn::LayerNorm norm{nullptr};
  nn::Dropout drop{nullptr};
  nn::Linear projection{nullptr};
};

struct Body : nn::Module {
  Body(int64_t channels, const Sizes& s) {
    picture = register_module("picture", std::make_shared<PictureTower>(channels, s));
    text = register_module("text", std::make_shared<TextTower>(s));
    constexpr double first_temperature = 0.07;
    logit_scale = register_parameter("logit_scale", at::full({}, std::log(1 / first_temperature)));
  }

  // An embedding of length sqrt(s).
  Tensor scaled(const Tensor& x) const {
    const double most = std::log(100.0);
    constexpr double least_length = 1e-6;
    return x * (x.square().sum(1, true) + least_length * least_length).rsqrt() *
           (0.5 * logit_scale.clamp_max(most)).exp();
  }

  std::shared_ptr<PictureTower> picture;
  std::shared_ptr<TextTower> text;
  Tensor logit_scale;
};

}  // namespace

class Clip final : public Network {
 public:
  explicit Clip(Params& p) {
    Sizes s{};
    s.widths = p.get("widths", std::vector<int64_t>{32, 64, 96, 128},
                     "channels of the picture tower's stages, each of which halves the sides", at_least(1));
    s.groups = p.get("groups", 8, "groups of its norms; divides the widths", at_least(1));
    s.blocks = p.get("blocks", 1, "residual blocks of each stage", at_least(1));
    s.vocabulary = p.get("vocabulary", 1750, "words that it knows, and one for none: input_ids are less", at_least(2));
    s.width = p.get("width", 128, "numbers of a word, and of each embedding", at_least(1));
    s.layers = p.get("layers", 3, "layers of the text tower", at_least(1));
    s.heads = p.get("heads", 4, "heads of each attention; divides `width`", at_least(1));
    s.dropout =
        p.get("dropout", 0.1, "share of numbers dropped in training: of words, and before the picture's last layer",
              {.low = 0, .high = 1, .high_open = true});
    check(p, s);
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    const Input* ids = spec.find(ids_input);
    if (spec.shape.size() != 3 || ids == nullptr || ids->shape.size() != 1) {
      throw p.error("type", "'clip' embeds pictures and words; it needs a data set of pictures with input_ids");
    }
    const int64_t least = int64_t{1} << s.widths.size();
    if (spec.shape[1] < least || spec.shape[2] < least) {
      throw p.error("widths", std::to_string(s.widths.size()) + " stages halve pictures of " +
                                  std::to_string(spec.shape[1]) + " x " + std::to_string(spec.shape[2]) +
                                  " too often; expected sides of " + std::to_string(least) + " at least");
    }
    s.length = ids->shape[0];
    body_ = std::make_shared<Body>(spec.shape[0], s);
  }

  Tensor forward(const Tensor& x, const Tensor&, const Conditioning& condition) override {
    TextTower& text = *body_->text;
    const Tensor given = condition[ids_input];
    const Tensor ids = given.defined()
                           ? given.to(text.words.device())
                           : at::zeros({x.size(0), text.places.size(0)}, text.words.options().dtype(at::kLong));
    const Tensor mask = ids > 0, tokens = text.tokens(ids, mask), pooled = text.pooled(tokens, mask);
    if (!x.defined()) {
      return at::cat({tokens, pooled.unsqueeze(1)}, 1);
    }
    return at::cat({body_->scaled(body_->picture->forward(x)), body_->scaled(pooled)}, 1);
  }
  std::vector<std::string> inputs() const override { return {std::string(ids_input)}; }
  Tensor features(const Tensor& x) override { return body_->picture->forward(x); }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  static void check(const Params& p, const Sizes& s) {
    if (s.widths.empty()) {
      throw p.error("widths", "is an empty list; expected the channels of each stage");
    }
    for (const int64_t width : s.widths) {
      if (width % s.groups != 0) {
        throw p.error("groups", std::to_string(s.groups) + " does not divide the width " + std::to_string(width));
      }
    }
    if (s.width % s.heads != 0) {
      throw p.error("heads", std::to_string(s.heads) + " does not divide the width " + std::to_string(s.width));
    }
  }

  std::shared_ptr<Body> body_;
};

RETORT_PLUGIN(Clip, network, clip)
