#include <torch/nn/module.h>

#include <set>

#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

const Input prompt{.name = "prompt_embeds", .shape = {6, 16}};
const Input mask{.name = "attention_mask", .shape = {6}, .dtype = at::kBool};
const Input pooled{.name = "pooled_prompt_embeds", .shape = {8}};
const Input ids{.name = "time_ids", .shape = {6}};

ModelSpec spec_of(std::vector<Input> inputs) { return {{3, 8, 8}, std::move(inputs)}; }

std::shared_ptr<Network> unet_text(const ModelSpec& spec, const std::string& more = "") {
  TestHost host("type = \"ve\"", spec);
  const auto network = host.make_plugin<Network>("unet_text", "widths = [8, 16]\nheads = 2\n" + more);
  const at::NoGradGuard no_grad;  // last layers begin at zero, which would hide everything before them
  uint64_t index = 0;
  for (Tensor& p : network->module()->parameters()) {
    p.add_(at::randn(p.sizes(), seeded(1, "weights", index++)), 0.1);
  }
  network->module()->to(at::kDouble);
  network->module()->eval();
  return network;
}

Conditioning text(int64_t rows, uint64_t seed = 0) {
  return {{"prompt_embeds", normal({rows, 6, 16}, seed)},
          {"attention_mask", at::arange(6, at::kLong).expand({rows, 6}) < 4},
          {"pooled_prompt_embeds", normal({rows, 8}, seed + 1)},
          {"time_ids", normal({rows, 6}, seed + 2).abs() * 100}};
}

}  // namespace

TEST_CASE("the text U-Net reads what the model is given, and nothing else") {
  using Names = std::set<std::string>;
  const auto names = [](const std::vector<Input>& inputs) {
    const std::vector<std::string> list = unet_text(spec_of(inputs))->inputs();
    return Names(list.begin(), list.end());
  };
  CHECK(names({}) == Names{});
  CHECK(names({prompt}) == Names{"prompt_embeds"});
  CHECK(names({pooled}) == Names{"pooled_prompt_embeds"});
  CHECK(names({prompt, mask, pooled, ids}) ==
        Names{"prompt_embeds", "attention_mask", "pooled_prompt_embeds", "time_ids"});
  const Input labels = label_inputs(3)[0];
  CHECK(names({labels, prompt, ids, guidance_input()}) == Names{"labels", "prompt_embeds", "time_ids", "guidance"});
}

TEST_CASE("an input that the text U-Net cannot take in is refused in one line") {
  const auto error = [](const std::vector<Input>& inputs, const std::string& more = "") {
    return request_error([&] { unet_text(spec_of(inputs), more); });
  };
  CHECK(contains(error({{.name = "image", .shape = {3, 8, 8}}}), "cannot take in 'image' of shape [3, 8, 8]"));
  CHECK(contains(error({{.name = "prompt_embeds", .shape = {16}}}), "cannot take in 'prompt_embeds' of shape [16]"));
  CHECK(contains(error({mask}), "an attention_mask of 6 tokens, and prompt_embeds of none"));
  CHECK(contains(error({prompt, {.name = "attention_mask", .shape = {5}}}), "of 5 tokens, and prompt_embeds of 6"));
  CHECK(contains(error({prompt}, "attention = []"), "network.attention: is empty, and there are prompt_embeds"));
  CHECK(contains(error({}, "id_width = 3"), "network.id_width: 3 is odd"));
  CHECK(contains(request_error([] {
                   TestHost host("type = \"ve\"", spec_of({}));
                   host.make_plugin<Network>("unet_text", "widths = [8, 24]\nheads = 5");
                 }),
                 "network.heads: 5 does not divide the width 24 of level 1"));
}

TEST_CASE("a token that is masked has no effect, and a row without any is finite") {
  const at::NoGradGuard no_grad;
  const auto network = unet_text(spec_of({prompt, mask, pooled, ids}));
  const Tensor x = normal({3, 3, 8, 8}), noise = normal({3}, 1);
  Conditioning one = text(3), other = text(3);
  const Tensor changed = one["prompt_embeds"].clone();
  changed.narrow(1, 4, 2).add_(1);
  other.set("prompt_embeds", changed);
  const Tensor out = network->forward(x, noise, one);
  CHECK(most(out - network->forward(x, noise, other)) < 1e-12);
  changed.narrow(1, 3, 1).add_(1);
  CHECK(most(out - network->forward(x, noise, other)) > 1e-6);
  const Conditioning none = one.with("attention_mask", at::zeros({3, 6}, at::kBool));
  const Tensor alone = network->forward(x, noise, none);
  CHECK(alone.isfinite().all().item<bool>());
  CHECK(most(alone - network->forward(x, noise, none.with("prompt_embeds", changed))) == 0);
}

TEST_CASE("what is not given to the text U-Net is its null value") {
  const at::NoGradGuard no_grad;
  const ModelSpec spec = spec_of({prompt, mask, pooled, ids});
  const auto network = unet_text(spec);
  const Tensor x = normal({2, 3, 8, 8}), noise = normal({2}, 1);
  const Tensor bare = network->forward(x, noise, {});
  CHECK(most(bare - network->forward(x, noise, without_condition(text(2), spec.inputs))) == 0);
  CHECK(most(bare - network->forward(x, noise, text(2))) > 1e-6);
}

TEST_CASE("without a mask all tokens are attended to") {
  const at::NoGradGuard no_grad;
  const Tensor x = normal({2, 3, 8, 8}), noise = normal({2}, 1);
  const auto network = unet_text(spec_of({prompt, mask, pooled, ids}));
  Conditioning all = text(2), unsaid = text(2);
  all.set("attention_mask", at::ones({2, 6}, at::kBool));
  unsaid.set("attention_mask", {});
  CHECK(most(network->forward(x, noise, all) - network->forward(x, noise, unsaid)) < 1e-12);
}

TEST_CASE("the text U-Net trains in bfloat16, near float32") {
  const ModelSpec spec = spec_of({prompt, mask, pooled, ids});
  TestHost host("type = \"ve\"", spec);
  const auto network = unet_text(spec);
  network->module()->to(at::kFloat);
  const Tensor x = normal({2, 3, 8, 8}).to(at::kFloat), noise = normal({2}, 1).to(at::kFloat);
  const auto half = host.make_plugin<Backend>("cpu", "precision = \"bfloat16\"");
  const Tensor exact = (*host.backend().compile(network))(x, noise, text(2));
  const Tensor rounded = (*half->trainable(network))(x, noise, text(2)).to(at::kFloat);
  CHECK(((rounded - exact).norm() / exact.norm()).item<double>() < 0.05);
  rounded.square().sum().backward();
  for (const auto& p : network->module()->named_parameters()) {
    CAPTURE(p.key());
    CHECK(p.value().grad().isfinite().all().item<bool>());
  }
}

TEST_CASE("without transformers the text U-Net is the U-Net, to the bit and from the same draws") {
  const ModelSpec spec = spec_of({label_inputs(3)[0], guidance_input()});
  TestHost host("type = \"ve\"", spec);
  const auto made = [&](const char* name) {
    at::manual_seed(3);
    return host.make_plugin<Network>(name, "patch = 2\nwidths = [8, 16]\nattention = []");
  };
  const auto plain = made("unet"), other = made("unet_text");
  const auto own = plain->module()->named_parameters(), others = other->module()->named_parameters();
  CHECK(own.keys() == others.keys());
  uint64_t index = 0;
  const at::NoGradGuard no_grad;
  for (const auto& p : own) {
    Tensor weights = p.value(), same = others[p.key()];
    CHECK(at::equal(weights, same));
    const Tensor change = at::randn(weights.sizes(), seeded(1, "weights", index++)) * 0.1;
    weights.add_(change);
    same.add_(change);
  }
  const Tensor x = normal({2, 3, 8, 8}).to(at::kFloat), noise = normal({2}, 1).to(at::kFloat);
  const Conditioning condition{{inputs::labels, at::tensor({0, 3}, at::kLong)}, {inputs::guidance, normal({2}, 2)}};
  CHECK(at::equal(plain->forward(x, noise, condition), other->forward(x, noise, condition)));
}
