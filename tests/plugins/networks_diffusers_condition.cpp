// diffusers' UNet2DConditionModel, held against its own numbers: tests/parity/make_diffusers_unets.py.
#include "support/diffusers_unets.h"

#include <set>

using namespace retort;
using namespace retort::test;

namespace {

const Input prompt{.name = "prompt_embeds", .shape = {5, 16}};
const Input mask{.name = "attention_mask", .shape = {5}, .dtype = at::kBool};
const Input pooled{.name = "pooled_prompt_embeds", .shape = {8}};
const Input ids{.name = "time_ids", .shape = {6}};

const std::string small =
    "in_channels = 3\nout_channels = 3\nblock_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\n"
    "down_block_types = [\"DownBlock2D\", \"CrossAttnDownBlock2D\"]\n"
    "up_block_types = [\"CrossAttnUpBlock2D\", \"UpBlock2D\"]\nattention_head_dim = 2\n";
const std::string text = "cross_attention_dim = 16\n";
const std::string sdxl =
    "addition_embed_type = \"text_time\"\naddition_time_embed_dim = 4\nprojection_class_embeddings_input_dim = 32\n";

std::shared_ptr<Network> made(const std::vector<Input>& inputs, const std::string& toml) {
  TestHost host("type = \"ve\"", {{3, 7, 6}, inputs});
  const auto network = host.make_plugin<Network>("unet_2d_condition", toml);
  network->module()->eval();
  return network;
}

std::string refusal(const std::vector<Input>& inputs, const std::string& toml) {
  return request_error([&] { made(inputs, toml); });
}

}  // namespace

TEST_CASE("UNet2DConditionModel is diffusers': weights, outputs and gradients, for every kind of block and embedding") {
  check_unet_cases("unet_2d_condition", 7);
}

TEST_CASE("the conditional U-Net reads what the model is given and its keys name") {
  using Names = std::set<std::string>;
  const auto names = [](const std::vector<Input>& inputs, const std::string& toml) {
    const std::vector<std::string> list = made(inputs, toml)->inputs();
    return Names(list.begin(), list.end());
  };
  CHECK(names({prompt}, small + text) == Names{"prompt_embeds"});
  CHECK(names({prompt, mask, pooled, ids}, small + text) == Names{"prompt_embeds", "attention_mask"});
  CHECK(names({prompt, pooled, ids}, small + text + sdxl) ==
        Names{"prompt_embeds", "pooled_prompt_embeds", "time_ids"});
  CHECK(names({label_inputs(3)[0], prompt, guidance_input()}, small + text) ==
        Names{"labels", "prompt_embeds", "guidance"});
  CHECK(names({prompt, {.name = "class_labels"}}, small + text + "class_embed_type = \"timestep\"") ==
        Names{"prompt_embeds", "class_labels"});
}

TEST_CASE("guidance weights begin without effect, in the layer that latent consistency models have") {
  const at::NoGradGuard no_grad;
  const auto network = made({prompt, guidance_input()}, small + text);
  CHECK(network->weights_of("guidance") == "time_embedding.cond_proj.");
  CHECK(network->weights_of("prompt_embeds").empty());
  Tensor layer = weights_of(*network)["time_embedding.cond_proj.weight"];
  CHECK(layer.sizes() == at::IntArrayRef({8, 256}));
  const Tensor x = normal({2, 3, 7, 6}).to(at::kFloat), t = at::tensor({5.0, 700.0}, at::kFloat);
  const auto of = [&](double w) {
    return network->forward(x, t, {{inputs::guidance, at::full({2}, w, at::kDouble).log1p()}});
  };
  CHECK(at::equal(of(1), of(7)));
  layer.fill_(0.1);
  CHECK(most(of(1) - of(7)) > 1e-4);
  CHECK(made({prompt}, small + text)->weights_of("guidance").empty());
}

TEST_CASE("a token that is masked has no effect on the conditional U-Net, and without a mask all have") {
  const at::NoGradGuard no_grad;
  const auto network = made({prompt, mask}, small + text);
  const Tensor x = normal({2, 3, 7, 6}).to(at::kFloat), t = at::tensor({5.0, 700.0}, at::kFloat);
  const Tensor tokens = normal({2, 5, 16}).to(at::kFloat), changed = tokens.clone();
  changed.narrow(1, 3, 2).add_(1);
  const Tensor seen = (at::arange(5, at::kLong) < 3).expand({2, 5});
  const auto of = [&](const Tensor& text_, const Tensor& mask_) {
    return network->forward(x, t, {{"prompt_embeds", text_}, {"attention_mask", mask_}});
  };
  CHECK(most(of(tokens, seen) - of(changed, seen)) < 1e-6);
  CHECK(most(of(tokens, {}) - of(changed, {})) > 1e-4);
  CHECK(most(of(tokens, {}) - of(tokens, at::ones_like(seen))) < 1e-6);
  CHECK(of(tokens, at::zeros_like(seen)).isfinite().all().item<bool>());
}

TEST_CASE("one number stands for every block") {
  const auto lists = [](const std::string& toml) {
    std::map<std::string, std::vector<int64_t>> out;
    for (const auto& [key, weight] : weights_of(*made({prompt}, toml))) {
      out[key] = weight.sizes().vec();
    }
    return out;
  };
  const std::string bare = small.substr(0, small.find("layers")) + small.substr(small.find("down"));
  CHECK(lists(bare + text + "layers_per_block = 2\ntransformer_layers_per_block = 2") ==
        lists(bare +
              "cross_attention_dim = [16, 16]\nlayers_per_block = [2, 2]\n"
              "transformer_layers_per_block = [2, [2, 2]]\nreverse_transformer_layers_per_block = [[2, 2, 2], 2]"));
  CHECK(lists(bare + text + "layers_per_block = [1, 2]") != lists(bare + text + "layers_per_block = [2, 1]"));
}

TEST_CASE("what UNet2DConditionModel cannot be is one line about a key") {
  CHECK(contains(refusal({}, small), "network.down_block_types: the blocks attend to prompt_embeds, which"));
  CHECK(contains(refusal({prompt}, small), "network.cross_attention_dim: 1280 is not supported for prompt_embeds of"));
  CHECK(contains(refusal({prompt}, small + text + sdxl), "network.addition_embed_type: text_time wants"));
  CHECK(contains(refusal({prompt, pooled, {.name = "time_ids", .shape = {5}}}, small + text + sdxl),
                 "network.projection_class_embeddings_input_dim: 32 is not what"));
  CHECK(contains(refusal({prompt}, small + text + "dual_cross_attention = true"),
                 "network.dual_cross_attention: true is not supported"));
  CHECK(contains(refusal({prompt}, small + text + "attention_type = \"gated\""), "network.attention_type: 'gated'"));
  CHECK(contains(refusal({prompt}, small + text + "addition_embed_type = \"image\""), "network.addition_embed_type: "));
  CHECK(contains(refusal({prompt}, small + text + "encoder_hid_dim_type = \"image_proj\""),
                 "network.encoder_hid_dim_type: 'image_proj'"));
  CHECK(contains(refusal({prompt}, small + text + "class_embed_type = \"projection\""),
                 "network.class_embed_type: wants an input class_labels"));
  CHECK(contains(refusal({prompt}, small + text + "transformer_layers_per_block = [1, [1, 2]]"),
                 "network.reverse_transformer_layers_per_block: missing"));
  CHECK(contains(refusal({prompt}, small + text + "transformer_layers_per_block = [1, 2, 3]"),
                 "network.transformer_layers_per_block: has 3 entries"));
  CHECK(contains(refusal({prompt}, small + text + "transformer_layers_per_block = [[], 1]"),
                 "network.transformer_layers_per_block: has an entry that is no number of layers"));
  CHECK(contains(refusal({prompt}, small + text + "transformer_layers_per_block = 1.5"),
                 "network.transformer_layers_per_block: is a number, 1.5; expected list of lists of numbers"));
  CHECK(contains(refusal({prompt}, small + "cross_attention_dim = [16, 8, 4]"),
                 "network.cross_attention_dim: has 3 numbers"));
  CHECK(contains(refusal({prompt}, small.substr(0, small.find("attention_head")) + text + "attention_head_dim = 0"),
                 "network.attention_head_dim: 0 is out of range; expected >= 1"));
  CHECK(contains(refusal({prompt}, small.substr(0, small.find("attention_head")) + text + "attention_head_dim = 32"),
                 "network.attention_head_dim: 32 heads do not fit into a block of 16 channels"));
  CHECK(contains(refusal({prompt}, small + text + "conv_in_kernel = 4"), "network.conv_in_kernel: an even side"));
  CHECK(contains(refusal({prompt}, small + text + "mid_block_type = \"UNetMidBlock3D\""),
                 "network.mid_block_type: 'UNetMidBlock3D' is not supported"));
  const std::string others = "block_out_channels = [8, 16]\nup_block_types = [\"UpBlock2D\", \"UpBlock2D\"]\n";
  CHECK(contains(refusal({prompt}, others + "down_block_types = [\"KDownBlock2D\", \"DownBlock2D\"]"),
                 "network.down_block_types: 'KDownBlock2D' is not supported; expected DownBlock2D"));
}
