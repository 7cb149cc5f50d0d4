/// The U-Net of `unet` with the inputs of Stable Diffusion and SDXL: it attends to a text's tokens, and takes in a
/// pooled text and numbers about the picture.
///
/// Behind the blocks of chosen levels stand transformers, of self-attention, attention to the tokens, and a gated
/// layer. What the data set or teacher gives decides which inputs there are: `prompt_embeds` [tokens, numbers], perhaps
/// with `attention_mask` [tokens], of which false hides a token; `pooled_prompt_embeds` [numbers] and `time_ids` [ids]
/// (sizes and crops), which join the embedding of the noise level; labels, and single numbers such as guidance weights.
/// Without `prompt_embeds` the transformers attend to the picture alone. The layers are diffusers', at any size.
/// Source: Rombach et al. 2022 (arXiv 2112.10752), appendix E; Podell et al. 2023 (arXiv 2307.01952), section 2; Karras
/// et al. 2022.
///
///     [network]
///     type = "unet_text"
///     patch = 2                      # 1, the default: pictures as they are
///     widths = [32, 64]
///     attention = [1]
///     heads = 4
#include <retort/plugin.h>

#include <map>
#include <optional>

#include "../shared/attention.h"
#include "../shared/unet.h"

using namespace retort;
namespace nn = torch::nn;

namespace {

constexpr std::string_view prompt_name = "prompt_embeds", mask_name = "attention_mask",
                           pooled_name = "pooled_prompt_embeds", ids_name = "time_ids";

// The rows of an input, in that type; of one that is not given, its null values.
Tensor rows_of(const Conditioning& condition, const Input& input, const Tensor& x, at::ScalarType dtype) {
  if (const Tensor given = condition[input.name]; given.defined()) {
    return given.to(x.device(), dtype);
  }
  std::vector<int64_t> shape = input.shape;
  shape.insert(shape.begin(), x.size(0));
  return at::full(shape, input.null, x.options().dtype(dtype));
}

struct Sizes {
  int64_t heads, depth, id_width;
};

// The tokens that are attended to, undefined where there are none.
struct Text {
  Tensor tokens;  // [B, L, D]
  Tensor mask;    // [B, L] bool, or undefined
};

// diffusers' BasicTransformerBlock, with its GEGLU.
struct Layer : nn::Module {
  Layer(int64_t width, int64_t context_width, int64_t heads) {
    const auto norm = [&] { return nn::LayerNorm(nn::LayerNormOptions({width})); };
    norm1 = register_module("norm1", norm());
    attn1 = register_module("attn1", std::make_shared<Attention>(width, width, heads));
    if (context_width > 0) {
      norm2 = register_module("norm2", norm());
      attn2 = register_module("attn2", std::make_shared<Attention>(width, context_width, heads));
    }
    norm3 = register_module("norm3", norm());
    constexpr int64_t wider = 4;
    ff0 = register_module("ff0", nn::Linear(width, 2 * wider * width));
    ff1 = register_module("ff1", nn::Linear(wider * width, width));
  }

  // x: [B, N, width]
  Tensor forward(Tensor x, const Text& text) {
    const Tensor own = norm1(x);
    x = x + attn1->forward(own, own);
    if (attn2) {
      x = x + attn2->forward(norm2(x), text.tokens, text.mask);
    }
    const auto halves = ff0(norm3(x)).chunk(2, 2);
    return x + ff1(halves[0] * at::gelu(halves[1]));
  }

  nn::LayerNorm norm1{nullptr}, norm2{nullptr}, norm3{nullptr};
  std::shared_ptr<Attention> attn1, attn2;
  nn::Linear ff0{nullptr}, ff1{nullptr};
};

// diffusers' Transformer2DModel: pictures as sequences. It begins without effect, as in the first code of latent
// diffusion.
struct Transformer : nn::Module {
  Transformer(int64_t width, int64_t context_width, int64_t groups, const Sizes& sizes) {
    norm = register_module("norm", nn::GroupNorm(nn::GroupNormOptions(groups, width).eps(1e-6)));
    proj_in = register_module("proj_in", nn::Linear(width, width));
    for (int64_t i = 0; i < sizes.depth; ++i) {
      layers.push_back(
          register_module("layer" + std::to_string(i), std::make_shared<Layer>(width, context_width, sizes.heads)));
    }
    proj_out = register_module("proj_out", unet_parts::zeroed(nn::Linear(width, width)));
  }

  // x: [B, width, height, width of the picture]
  Tensor forward(const Tensor& x, const Text& text) {
    Tensor h = proj_in(unet_parts::normalised(norm, x).flatten(2).transpose(1, 2));
    for (const auto& layer : layers) {
      h = layer->forward(h, text);
    }
    return x + proj_out(h).transpose(1, 2).reshape(x.sizes());
  }

  nn::GroupNorm norm{nullptr};
  nn::Linear proj_in{nullptr}, proj_out{nullptr};
  std::vector<std::shared_ptr<Layer>> layers;
};

struct TextBody : unet_parts::Body {
  TextBody(const unet_parts::Shape& shape, const ModelSpec& spec, const Sizes& sizes)
      : Body(shape, spec), id_width(sizes.id_width) {
    const auto find = [&](std::string_view name) {
      const Input* input = spec.find(name);
      return input != nullptr ? std::optional(*input) : std::nullopt;
    };
    prompt = find(prompt_name), mask = find(mask_name), pooled = find(pooled_name), ids = find(ids_name);
    const int64_t added = (pooled ? pooled->shape[0] : 0) + (ids ? ids->shape[0] * id_width : 0);
    if (added > 0) {
      added0 = register_module("added0", nn::Linear(added, shape.embedding));
      added1 = register_module("added1", nn::Linear(shape.embedding, shape.embedding));
    }
    for (const auto& child : named_children()) {
      const auto block = std::dynamic_pointer_cast<unet_parts::Block>(child.value());
      if (block && block->attends) {
        const auto made =
            std::make_shared<Transformer>(block->width, prompt ? prompt->shape[1] : 0, shape.groups, sizes);
        transformers[block.get()] = register_module("text_" + child.key(), made);
      }
    }
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) {
    Text text;
    if (prompt) {
      text.tokens = rows_of(condition, *prompt, x, x.scalar_type());
    }
    if (mask && (condition.has(mask_name) || !condition.has(prompt_name))) {
      text.mask = rows_of(condition, *mask, x, at::kBool);
    }
    Tensor embedding = embed(x, c_noise, condition);
    if (!added0.is_empty()) {
      embedding = embedding + added1(at::silu(added0(added(x, condition))));
    }
    return through(x, embedding, [&](const unet_parts::Block& block, const Tensor& h) {
      const auto found = transformers.find(&block);
      return found != transformers.end() ? found->second->forward(h, text) : h;
    });
  }

  // SDXL's: the pooled text, and the waves of each id, side by side. [B, numbers]
  Tensor added(const Tensor& x, const Conditioning& condition) const {
    std::vector<Tensor> parts;
    if (pooled) {
      parts.push_back(rows_of(condition, *pooled, x, x.scalar_type()));
    }
    if (ids) {
      const Tensor numbers = rows_of(condition, *ids, x, at::kDouble);
      const Tensor waves = timestep_embedding(numbers.flatten(), id_width).to(x.scalar_type());
      parts.push_back(waves.view({x.size(0), ids->shape[0] * id_width}));
    }
    return at::cat(parts, 1);
  }

  int64_t id_width;
  std::optional<Input> prompt, mask, pooled, ids;
  nn::Linear added0{nullptr}, added1{nullptr};
  std::map<const unet_parts::Block*, std::shared_ptr<Transformer>> transformers;
};

std::string spell(const std::vector<int64_t>& shape) {
  std::string out;
  for (const int64_t n : shape) {
    out += (out.empty() ? "" : ", ") + std::to_string(n);
  }
  return "[" + out + "]";
}

}  // namespace

class UNetText final : public Network {
 public:
  explicit UNetText(Params& p) {
    unet_parts::Shape shape = unet_parts::read_shape(p, "levels with transformers, 0 the finest");
    shape.attention_behind = true;
    Sizes sizes{};
    sizes.heads = p.get("heads", 4, "heads of each attention; divides the widths of those levels", at_least(1));
    sizes.depth = p.get("depth", 1, "layers of each transformer", at_least(1));
    sizes.id_width = p.get("id_width", 32, "cosines and sines of each of the time_ids; even", at_least(2));
    check(p, shape, sizes);
    if (p.is_describing()) {
      return;
    }
    const ModelSpec spec = p.host().spec();
    unet_parts::fit_to_pictures(p, "unet_text", spec, shape);
    check_inputs(p, spec, shape);
    body_ = std::make_shared<TextBody>(shape, spec, sizes);
  }

  Tensor forward(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    return body_->forward(x, c_noise, condition);
  }
  std::vector<std::string> inputs() const override {
    std::vector<std::string> out = input_names(!body_->label.is_empty(), body_->numbers);
    for (const std::optional<Input>* input : {&body_->prompt, &body_->mask, &body_->pooled, &body_->ids}) {
      if (*input) {
        out.push_back((*input)->name);
      }
    }
    return out;
  }
  std::string weights_of(const std::string& input) const override { return body_->numbers.weights_of(input); }
  std::shared_ptr<nn::Module> module() override { return body_; }

 private:
  static void check(const Params& p, const unet_parts::Shape& shape, const Sizes& sizes) {
    for (const int64_t level : shape.attention) {
      const int64_t width = shape.widths[static_cast<size_t>(level)];
      if (width % sizes.heads != 0) {
        throw p.error("heads", std::to_string(sizes.heads) + " does not divide the width " + std::to_string(width) +
                                   " of level " + std::to_string(level));
      }
    }
    if (sizes.id_width % 2 != 0) {
      throw p.error("id_width", std::to_string(sizes.id_width) + " is odd; expected an even number");
    }
  }

  // What the network could not take in would be left out of it without a word.
  static void check_inputs(const Params& p, const ModelSpec& spec, const unet_parts::Shape& shape) {
    const std::map<std::string_view, size_t> dimensions = {
        {prompt_name, 2}, {mask_name, 1}, {pooled_name, 1}, {ids_name, 1}};
    for (const Input& input : spec.inputs) {
      const auto known = dimensions.find(input.name);
      if (input.shape.size() == (known != dimensions.end() ? known->second : 0)) {  // labels and numbers have none
        continue;
      }
      throw p.error("type", "'unet_text' cannot take in '" + input.name + "' of shape " + spell(input.shape) +
                                "; expected labels, numbers, prompt_embeds [tokens, numbers], attention_mask [tokens], "
                                "pooled_prompt_embeds [numbers] or time_ids [ids]");
    }
    const Input *prompt = spec.find(prompt_name), *mask = spec.find(mask_name);
    if (prompt != nullptr && shape.attention.empty()) {
      throw p.error("attention", "is empty, and there are prompt_embeds to attend to; expected a level at least");
    }
    if (mask != nullptr && (prompt == nullptr || prompt->shape[0] != mask->shape[0])) {
      throw p.error("type", "'unet_text' is given an attention_mask of " + std::to_string(mask->shape[0]) +
                                " tokens, and prompt_embeds of " +
                                (prompt != nullptr ? std::to_string(prompt->shape[0]) : "none"));
    }
  }

  std::shared_ptr<TextBody> body_;
};

RETORT_PLUGIN(UNetText, network, unet_text)
