/// DiT, a transformer on patches of a picture that is told its class: diffusers' `DiTTransformer2DModel`.
///
/// Patches become tokens with waves of their place; in each block, attention and a layer of width 4 D are shifted,
/// scaled and gated by the step and the class (adaLN-Zero). Keys and names of weights are diffusers', so that its
/// config.json builds the network, and its files fill it. The label one past the last class is "no class", and so is no
/// label at all. Where out_channels is twice in_channels (a learned variance), the first half is the prediction. The
/// step is what diffusers calls a timestep: student.preconditioning = "discrete". A network that is not read from a
/// file begins without effect, as DiT's own code has it. Source: Peebles & Xie 2022 (arXiv 2212.09748).
///
///     [network]
///     type = "dit_transformer_2d"
///     num_attention_heads = 6
///     attention_head_dim = 64
///     num_layers = 12
///     num_embeds_ada_norm = 10       # classes
#include <retort/host.h>
#include <retort/plugin.h>

#include "../shared/diffusers_layers.h"

using namespace retort;
namespace nn = torch::nn;

namespace {

struct Config {
  explicit Config(Params& p)
      : heads(p.get("num_attention_heads", 16, "heads of each attention", at_least(1))),
        head_width(p.get("attention_head_dim", 72, "numbers of each head; times the heads, the width D", at_least(1))),
        in_channels(p.get("in_channels", 4, "of a sample", at_least(1))),
        out_channels(p.get("out_channels", 0, "0: as in_channels; twice these: with a learned variance", at_least(0))),
        layers(p.get("num_layers", 28, "blocks", at_least(1))),
        bias(p.get("attention_bias", true, "whether queries, keys and values have biases")),
        sample_size(p.get("sample_size", 32,
                          "side of the pictures that the waves of places are made for; others are "
                          "stretched to it",
                          at_least(1))),
        patch(p.get("patch_size", 2, "side of a patch", at_least(1))),
        activation(p.choice("activation_fn", "gelu-approximate", {"gelu-approximate", "gelu", "geglu"},
                            "of the layers of width 4 D")),
        classes(p.get("num_embeds_ada_norm", 1000, "classes", at_least(1))),
        affine(p.get("norm_elementwise_affine", false, "whether the norm before these layers has weights")),
        eps(p.get("norm_eps", 1e-5, "of that norm", more_than(0))) {
    // These change no prediction, or have one value that there is code for.
    p.get("dropout", 0.0, "without effect: nothing is dropped, in training neither", between(0, 1));
    p.get("norm_num_groups", 32, "without effect, as in diffusers");
    p.get("upcast_attention", false, "without effect, as in diffusers' own attention");
    p.choice("norm_type", "ada_norm_zero", {"ada_norm_zero"}, "how the norms are told step and class; adaLN-Zero");
    if (out_channels == 0) {
      out_channels = in_channels;
    }
  }
  int64_t width() const { return heads * head_width; }
  int64_t base_size() const { return sample_size / patch; }

  int64_t heads, head_width, in_channels, out_channels, layers;
  bool bias;
  int64_t sample_size, patch;
  std::string activation;
  int64_t classes;
  bool affine;
  double eps;
};

template <class T, class... Arguments>
std::shared_ptr<T> add(nn::Module& owner, const char* name, Arguments&&... arguments) {
  return owner.register_module(name, std::make_shared<T>(std::forward<Arguments>(arguments)...));
}

// The step and the class of a row, as D numbers: "timestep_embedder" and "class_embedder".
struct StepAndClass : nn::Module {
  static constexpr int64_t waves = 256;

  StepAndClass(int64_t classes, int64_t width) {
    step = add<diffusers::TimestepEmbedding>(*this, "timestep_embedder", waves, width);
    const auto embedder = add<nn::Module>(*this, "class_embedder");
    table = add<diffusers::Embedding>(*embedder, "embedding_table", classes + 1, width);
  }
  // times: [B], labels: [B]. Returns [B, D] in that type.
  Tensor forward(const Tensor& times, const Tensor& labels, at::ScalarType dtype) const {
    const Tensor wave = diffusers::time_waves(times, waves, /*cosines_first=*/true, /*shift=*/1);
    return step->forward(wave.to(dtype)) + table->forward(labels);
  }

  std::shared_ptr<diffusers::TimestepEmbedding> step;
  std::shared_ptr<diffusers::Embedding> table;
};

// x: [B, N, D]; scale, shift: [B, D]
Tensor modulated(const Tensor& x, const Tensor& scale, const Tensor& shift) {
  return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1);
}

constexpr double plain_eps = 1e-6;  // of the norms without weights

// What norm1 holds: the embedding of step and class, and the layer that makes shifts, scales and gates of it.
struct AdaLayerNormZero : nn::Module {
  AdaLayerNormZero(int64_t classes, int64_t width) {
    emb = add<StepAndClass>(*this, "emb", classes, width);
    linear = add<diffusers::Linear>(*this, "linear", width, 6 * width);
    const at::NoGradGuard no_grad;
    linear->weight.zero_();
    linear->bias.zero_();
  }
  std::shared_ptr<StepAndClass> emb;
  std::shared_ptr<diffusers::Linear> linear;
};

struct SelfAttention : nn::Module {
  SelfAttention(int64_t width, int64_t heads_, bool bias) : heads(heads_) {
    to_q = add<diffusers::Linear>(*this, "to_q", width, width, bias);
    to_k = add<diffusers::Linear>(*this, "to_k", width, width, bias);
    to_v = add<diffusers::Linear>(*this, "to_v", width, width, bias);
    to_out = add<diffusers::First<diffusers::Linear>>(*this, "to_out", width, width);
  }
  Tensor forward(const Tensor& x) const {
    return to_out->forward(diffusers::attend(to_q->forward(x), to_k->forward(x), to_v->forward(x), heads));
  }
  int64_t heads;
  std::shared_ptr<diffusers::Linear> to_q, to_k, to_v;
  std::shared_ptr<diffusers::First<diffusers::Linear>> to_out;
};

struct Block : nn::Module {
  explicit Block(const Config& c) : plain(c.width(), plain_eps, /*affine=*/false) {
    using Kind = diffusers::FeedForward::Kind;
    norm1 = add<AdaLayerNormZero>(*this, "norm1", c.classes, c.width());
    attn1 = add<SelfAttention>(*this, "attn1", c.width(), c.heads, c.bias);
    norm3 = add<diffusers::LayerNorm>(*this, "norm3", c.width(), c.eps, c.affine);
    ff = add<diffusers::FeedForward>(*this, "ff", c.width(),
                                     c.activation == "geglu"  ? Kind::geglu
                                     : c.activation == "gelu" ? Kind::gelu
                                                              : Kind::gelu_tanh);
  }
  // x: [B, N, D]
  Tensor forward(const Tensor& x, const Tensor& times, const Tensor& labels) const {
    return recomputed(
        *this, [this](const Tensor& h, const Tensor& t, const Tensor& c) { return compute(h, t, c); }, x, times,
        labels);
  }

  diffusers::LayerNorm plain;  // without weights, so that nobody need know of it
  std::shared_ptr<AdaLayerNormZero> norm1;
  std::shared_ptr<SelfAttention> attn1;
  std::shared_ptr<diffusers::LayerNorm> norm3;
  std::shared_ptr<diffusers::FeedForward> ff;

 private:
  Tensor compute(Tensor x, const Tensor& times, const Tensor& labels) const {
    const Tensor embedded = norm1->emb->forward(times, labels, x.scalar_type());
    const auto parts = norm1->linear->forward(at::silu(embedded)).chunk(6, 1);
    const Tensor &shift_msa = parts[0], &scale_msa = parts[1], &gate_msa = parts[2];
    const Tensor &shift_mlp = parts[3], &scale_mlp = parts[4], &gate_mlp = parts[5];
    x = x + gate_msa.unsqueeze(1) * attn1->forward(modulated(plain.forward(x), scale_msa, shift_msa));
    return x + gate_mlp.unsqueeze(1) * ff->forward(modulated(norm3->forward(x), scale_mlp, shift_mlp));
  }
};

struct Body : nn::Module {
  explicit Body(const Config& c) : config(c), plain(c.width(), plain_eps, /*affine=*/false) {
    const auto embed = add<nn::Module>(*this, "pos_embed");
    patches = add<diffusers::Conv2d>(*embed, "proj", c.in_channels, c.width(), c.patch, c.patch);
    blocks = add<diffusers::List<Block>>(*this, "transformer_blocks");
    for (int64_t i = 0; i < c.layers; ++i) {
      blocks->add(c);
    }
    proj_out_1 = add<diffusers::Linear>(*this, "proj_out_1", c.width(), 2 * c.width());
    proj_out_2 = add<diffusers::Linear>(*this, "proj_out_2", c.width(), c.patch * c.patch * c.out_channels);
    const at::NoGradGuard no_grad;
    for (const auto& layer : {proj_out_1, proj_out_2}) {
      layer->weight.zero_();
      layer->bias.zero_();
    }
  }

  // x: [B, C, H, H], times: [B], labels: [B]
  Tensor forward(const Tensor& x, const Tensor& times, const Tensor& labels) const {
    const int64_t side = x.size(2) / config.patch;
    Tensor h = patches->forward(x).flatten(2).transpose(1, 2);
    h = h + places(side, h);
    for (const auto& block : blocks->items) {
      h = block->forward(h, times, labels);
    }
    // The conditioning at the end is that of the first block's embedding.
    const Tensor last = at::silu((*blocks)[0].norm1->emb->forward(times, labels, h.scalar_type()));
    const auto parts = proj_out_1->forward(last).chunk(2, 1);
    h = proj_out_2->forward(modulated(plain.forward(h), parts[1], parts[0]));
    const int64_t p = config.patch;
    return h.view({x.size(0), side, side, p, p, config.out_channels})
        .permute({0, 5, 1, 3, 2, 4})
        .reshape({x.size(0), config.out_channels, side * p, side * p});
  }

  // Waves of each patch's column and row, [1, N, D]: made in float64, kept in float32, as in diffusers.
  Tensor places(int64_t side, const Tensor& like) const {
    const int64_t quarter = config.width() / 4;
    const auto options = at::TensorOptions().device(like.device());
    const Tensor at = at::arange(side, options.dtype(at::kFloat)) /
                      (static_cast<double>(side) / static_cast<double>(config.base_size()));
    const Tensor exponent = at::arange(quarter, options.dtype(at::kDouble)) / static_cast<double>(quarter);
    const Tensor angle = at.to(at::kDouble).unsqueeze(1) * (1 / at::pow(10000.0, exponent)).unsqueeze(0);
    const Tensor waves = at::cat({angle.sin(), angle.cos()}, 1);  // [side, D / 2]
    const Tensor columns = waves.unsqueeze(0).expand({side, side, 2 * quarter});
    const Tensor rows = waves.unsqueeze(1).expand({side, side, 2 * quarter});
    return at::cat({columns, rows}, 2).view({1, side * side, 4 * quarter}).to(at::kFloat).to(like.scalar_type());
  }

  Config config;
  diffusers::LayerNorm plain;
  std::shared_ptr<diffusers::Conv2d> patches;
  std::shared_ptr<diffusers::List<Block>> blocks;
  std::shared_ptr<diffusers::Linear> proj_out_1, proj_out_2;
};

}  // namespace

class DiTTransformer2D final : public Network {
 public:
  explicit DiTTransformer2D(Params& p) : config_(p) {
    check(p);
    if (p.is_describing()) {
      return;
    }
    check(p, p.host().spec());
    body_ = std::make_shared<Body>(config_);
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    Tensor labels = condition[retort::inputs::labels];
    if (!labels.defined()) {
      labels = at::full({x.size(0)}, config_.classes, x.options().dtype(at::kLong));
    }
    const Tensor out = body_->forward(x, c_noise, labels);
    return config_.out_channels == 2 * config_.in_channels ? out.narrow(1, 0, config_.in_channels) : out;
  }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  void check(const Params& p) const {
    if (config_.width() % 4 != 0) {
      throw p.error("attention_head_dim", std::to_string(config_.head_width) + " x " + std::to_string(config_.heads) +
                                              " heads is no multiple of 4, which the waves of places need");
    }
    if (config_.out_channels != config_.in_channels && config_.out_channels != 2 * config_.in_channels) {
      throw p.error("out_channels", std::to_string(config_.out_channels) + " is not supported; expected in_channels, " +
                                        std::to_string(config_.in_channels) + ", or twice that");
    }
    if (config_.base_size() == 0) {
      throw p.error("sample_size", "is less than patch_size, " + std::to_string(config_.patch));
    }
  }

  void check(const Params& p, const ModelSpec& spec) const {
    const auto& shape = spec.shape;
    if (shape.size() != 3 || shape[1] != shape[2] || shape[1] % config_.patch != 0) {
      std::string has;
      for (const int64_t n : shape) {
        has += (has.empty() ? "" : ", ") + std::to_string(n);
      }
      throw p.error("type", "'dit_transformer_2d' is for square pictures whose side is a multiple of patch_size, " +
                                std::to_string(config_.patch) + "; samples have shape [" + has + "]");
    }
    if (shape[0] != config_.in_channels) {
      throw p.error("in_channels", "is " + std::to_string(config_.in_channels) + ", but samples have " +
                                       std::to_string(shape[0]) + " channel(s)");
    }
    if (spec.classes() > 0 && spec.classes() != config_.classes) {
      throw p.error("num_embeds_ada_norm", "is " + std::to_string(config_.classes) + ", but there are " +
                                               std::to_string(spec.classes()) + " classes");
    }
    if (spec.outputs > 1) {
      throw p.error("type", "'dit_transformer_2d' gives one sample for a row, and the loss trains a network of " +
                                std::to_string(spec.outputs));
    }
  }

  Config config_;
  std::shared_ptr<Body> body_;
};

RETORT_PLUGIN(DiTTransformer2D, network, dit_transformer_2d)
