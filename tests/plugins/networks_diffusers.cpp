// diffusers' UNet2DModel, held against its own numbers: tests/parity/make_diffusers_unets.py. And what both of its
// U-Nets have in common.
#include <torch/csrc/autograd/autograd.h>

#include "support/diffusers_unets.h"

#include "retort/forward_mode.h"
#include "retort/new_weights.h"

using namespace retort;
using namespace retort::test;

namespace {

const Json& case_named(const std::string& name) {
  for (const Json& json : unet_parity()["cases"]) {
    if (json["name"] == name) {
      return json;
    }
  }
  throw Error("no case is called " + name);
}

// Two networks of each kind: convolutions, attentions, both ways of taking in the time, text.
const std::vector<std::string> telling = {"ddpm", "consistency model", "NCSN++", "Stable Diffusion",
                                          "SDXL", "added attention"};

std::string refusal(const std::string& toml, const ModelSpec& spec = {{3, 8, 8}}) {
  return request_error([&] {
    TestHost host("type = \"ve\"", spec);
    host.make_plugin<Network>("unet_2d", toml);
  });
}

const std::string small =
    "block_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\n"
    "down_block_types = [\"DownBlock2D\", \"AttnDownBlock2D\"]\nup_block_types = [\"AttnUpBlock2D\", \"UpBlock2D\"]\n";

}  // namespace

TEST_CASE("UNet2DModel is diffusers': weights, outputs and gradients, for every kind of block and embedding") {
  check_unet_cases("unet_2d", 7);
}

TEST_CASE("the names and shapes of known models' weights are diffusers', and take no memory to list") {
  const Json& known = unet_parity()["known"];
  REQUIRE(known.size() == 11);
  for (const Json& model : known) {
    const auto name = model["name"].get<std::string>();
    CAPTURE(name);
    const Json& keys = model["keys"];
    const bool text = model["network"] == "unet_2d_condition";
    ModelSpec spec{{text ? 4 : 3, 64, 64}};
    if (text) {
      const int64_t width = keys.contains("cross_attention_dim") ? keys["cross_attention_dim"].get<int64_t>() : 1280;
      spec.inputs = {{.name = "prompt_embeds", .shape = {77, width}}};
      if (keys.contains("addition_embed_type")) {
        spec.inputs.push_back({.name = "pooled_prompt_embeds", .shape = {1280}});
        spec.inputs.push_back({.name = "time_ids", .shape = {6}});
      }
    }
    TestHost host("type = \"ve\"", spec);
    const Value table = from_json(keys, "config.json");
    Params p(table, "network", &host);
    const NewWeights::OnMeta on_meta;
    const auto network =
        std::static_pointer_cast<Network>(registry().make("network", model["network"].get<std::string>(), p));
    p.finish();
    std::vector<std::string> lines;
    int64_t numbers = 0;
    for (const auto& [key, weight] : weights_of(*network)) {
      CHECK(weight.is_meta());
      std::string shape;
      for (const int64_t n : weight.sizes()) {
        shape += (shape.empty() ? "" : ", ") + std::to_string(n);
      }
      lines.push_back(key + " [" + shape + "]");
      numbers += weight.numel();
    }
    std::sort(lines.begin(), lines.end());
    std::string list;
    for (const std::string& line : lines) {
      list += (list.empty() ? "" : "\n") + line;
    }
    CHECK(lines.size() == model["tensors"].get<size_t>());
    CHECK(numbers == model["numbers"].get<int64_t>());
    CHECK(sha256_of_text(list) == model["sha256"].get<std::string>());
    MESSAGE(name << ": " << lines.size() << " tensors, " << numbers << " numbers");
  }
}

TEST_CASE("weights that take the places of those without memory are the network's own") {
  for (const std::string& name : telling) {
    const UNetCase c(case_named(name));
    CAPTURE(name);
    const at::NoGradGuard no_grad;
    std::shared_ptr<Network> network;
    {
      const NewWeights::OnMeta on_meta;
      network = c.network(at::kFloat, /*filled=*/false);
    }
    uint64_t stream = 0;
    std::vector<Tensor> given;
    for (auto& [key, weight] : weights_of(*network)) {
      REQUIRE(weight.is_meta());
      given.push_back(hashed_weight(key, weight, stream++));
      NewWeights::put(weight, given.back());
    }
    size_t i = 0;
    for (const auto& [key, weight] : weights_of(*network)) {
      CHECK(weight.data_ptr() == given[i++].data_ptr());  // not copied
    }
    CHECK(at::equal(c.output(*network, at::kDouble), c.output(*c.network(at::kDouble), at::kDouble)));
    CHECK(!NewWeights::on_meta());
  }
}

TEST_CASE("weights put in place are trained like any") {
  const UNetCase c(case_named("ddpm"));
  std::shared_ptr<Network> network;
  {
    const NewWeights::OnMeta on_meta;
    network = c.network(at::kFloat, /*filled=*/false);
  }
  uint64_t stream = 0;
  for (auto& [key, weight] : weights_of(*network)) {
    NewWeights::put(weight, hashed_weight(key, weight, stream++));
  }
  c.output(*network, at::kDouble).square().sum().backward();
  for (const auto& [key, weight] : weights_of(*network)) {
    CAPTURE(key);
    REQUIRE(weight.grad().defined());
    CHECK(most(weight.grad()) > 0);
  }
}

TEST_CASE("diffusers' U-Nets run in bfloat16, near float32") {
  for (const std::string& name : telling) {
    CAPTURE(name);
    const UNetCase c(case_named(name));
    const at::NoGradGuard no_grad;
    const Tensor wanted = c.wanted("float64"), out = c.output(*c.network(at::kBFloat16), at::kBFloat16);
    CHECK((out.scalar_type() == at::kBFloat16));
    CHECK(((out.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>() < 0.1);
  }
}

TEST_CASE("forward-mode derivatives of diffusers' U-Nets by sample and time are difference quotients") {
  for (const std::string& name : telling) {
    CAPTURE(name);
    const UNetCase c(case_named(name));
    const at::NoGradGuard no_grad;
    const auto network = c.network(at::kDouble);
    const Tensor x = c.x(at::kDouble), direction = hashed(x.sizes(), direction_stream);
    const Conditioning condition = c.condition(at::kDouble);
    const auto at_step = [&](double step) { return network->forward(x + step * direction, c.times(), condition); };
    constexpr double h = 1e-5;
    const Tensor quotient = (at_step(h) - at_step(-h)) / (2 * h);
    const ForwardMode forward;
    const auto value =
        forward.of([&] { return network->forward(forward.with(x, direction), c.times(), condition); }, "");
    CHECK(most(value.derivative - quotient) < 1e-6 * (1 + most(quotient)));
    const Tensor time = c.times(), ones = at::ones_like(time);
    const Tensor step = (time.abs() / 512).clamp_max(0.0625);  // times are float32
    const auto later = [&](const Tensor& by) { return network->forward(x, time + by, condition); };
    const Tensor by_time = (later(step) - later(-step)) / (2 * step).view({-1, 1, 1, 1});
    const auto moved = forward.of([&] { return network->forward(x, forward.with(time, ones), condition); }, "");
    CHECK(most(moved.derivative - by_time) < 0.05 * most(by_time) + 1e-4);
  }
}

TEST_CASE("diffusers' U-Nets are derived twice, where attention is not fused") {
  const ForwardMode unfused;
  for (const std::string name : {"ddpm", "SDXL"}) {
    CAPTURE(name);
    const UNetCase c(case_named(name));
    const auto network = c.network(at::kDouble);
    const Tensor x = c.x(at::kDouble).requires_grad_(), direction = hashed(x.sizes(), direction_stream);
    const auto size = [&] {  // of the gradient by the sample
      const Tensor out = network->forward(x, c.times(), c.condition(at::kDouble));
      return torch::autograd::grad({(out * direction).sum()}, {x}, {}, true, true)[0].square().sum();
    };
    Tensor weight = weights_of(*network)["mid_block.attentions.0.norm.weight"];
    if (!weight.defined()) {
      weight = weights_of(*network)["mid_block.attentions.0.group_norm.weight"];
    }
    size().backward();
    const Tensor along = hashed(weight.sizes(), direction_stream);
    const double derivative = (weight.grad() * along).sum().item<double>();
    const auto moved = [&](double step) {
      {
        const at::NoGradGuard no_grad;
        weight.add_(along, step);
      }
      const double out = size().item<double>();
      const at::NoGradGuard no_grad;
      weight.sub_(along, step);
      return out;
    };
    constexpr double h = 1e-5;
    const double quotient = (moved(h) - moved(-h)) / (2 * h);
    CHECK(std::abs(derivative) > 0);
    CHECK(std::abs(derivative - quotient) < 1e-5 * std::abs(quotient));
  }
}

TEST_CASE("a label without a row adds nothing, and one more row is that of no class") {
  const at::NoGradGuard no_grad;
  for (const int64_t rows : {3, 4}) {
    TestHost host("type = \"ve\"", {{3, 8, 8}, label_inputs(3)});
    const auto network = host.make_plugin<Network>("unet_2d", small + "num_class_embeds = " + std::to_string(rows));
    network->module()->eval();
    Tensor table = weights_of(*network)["class_embedding.weight"];
    CHECK(table.size(0) == rows);
    const Tensor x = normal({2, 3, 8, 8}).to(at::kFloat), t = at::tensor({5.0, 700.0}, at::kFloat);
    const auto of = [&](int64_t label) {
      return network->forward(x, t, {{inputs::labels, at::full({2}, label, at::kLong)}});
    };
    const Tensor none = of(3), unsaid = network->forward(x, t, {});
    CHECK(at::equal(none, unsaid));
    CHECK(most(none - of(2)) > 1e-4);
    (rows == 3 ? table : table[3]).zero_();
    CHECK(at::equal(of(rows == 3 ? 2 : 3), none) == (rows == 3));
  }
  TestHost host("type = \"ve\"", {{3, 8, 8}, label_inputs(3)});
  CHECK(weights_of(*host.make_plugin<Network>("unet_2d", small))["class_embedding.weight"].size(0) == 4);
}

TEST_CASE("of a learned variance the first half counts") {
  const at::NoGradGuard no_grad;
  TestHost host("type = \"ve\"", {{3, 8, 8}});
  const auto both = host.make_plugin<Network>("unet_2d", small + "out_channels = 6");
  const auto one = host.make_plugin<Network>("unet_2d", small);
  auto theirs = weights_of(*both);
  for (auto& [key, weight] : weights_of(*one)) {
    weight.copy_(theirs[key].narrow(0, 0, weight.size(0)));
  }
  const Tensor x = normal({2, 3, 8, 8}).to(at::kFloat), t = at::tensor({5.0, 700.0}, at::kFloat);
  CHECK(at::allclose(both->forward(x, t, {}), one->forward(x, t, {}), 1e-6, 1e-6));
}

TEST_CASE("what UNet2DModel cannot be is one line about a key") {
  CHECK(contains(refusal("block_out_channels = [8]"), "network.block_out_channels: has 1 numbers, down_block_types 4"));
  CHECK(contains(refusal(small + "in_channels = 4"), "network.in_channels: 4 is not supported for samples of 3"));
  CHECK(contains(refusal(small + "out_channels = 5"), "network.out_channels: 5 is not supported"));
  CHECK(contains(refusal(small + "act_fn = \"tanh\""), "network.act_fn: 'tanh' is unknown"));
  CHECK(contains(refusal(small + "attention_head_dim = 32"), "network.attention_head_dim: heads of 32 channels"));
  CHECK(contains(refusal("norm_num_groups = 5\nblock_out_channels = [8, 16]\n" + small.substr(small.find("layers"))),
                 "network.norm_num_groups: 5 groups do not divide"));
  CHECK(contains(refusal(small + "time_embedding_type = \"learned\""), "network.num_train_timesteps: missing"));
  CHECK(contains(refusal(small + "mid_block_type = \"UNetMidBlock2DCrossAttn\""), "network.mid_block_type: "));
  CHECK(contains(refusal(small, {{3, 7, 8}}), "2 levels cannot halve a picture of 7 x 8"));
  CHECK(contains(refusal(small, {{2}}), "'unet_2d' is for pictures"));
  CHECK(contains(refusal(small + "num_class_embeds = 2", {{3, 8, 8}, label_inputs(3)}),
                 "network.num_class_embeds: 2 is less than the 3 classes"));
  const std::string others = "block_out_channels = [8, 16]\nup_block_types = [\"UpBlock2D\", \"UpBlock2D\"]\n";
  CHECK(contains(refusal(others + "down_block_types = [\"CrossAttnDownBlock2D\", \"DownBlock2D\"]"),
                 "network.down_block_types: 'CrossAttnDownBlock2D' is not supported; expected DownBlock2D"));
  CHECK(contains(refusal(others + "down_block_types = [\"SkipDownBlock2D\", \"DownBlock2D\"]"),
                 "Skip blocks beside others are not supported"));
  CHECK(contains(refusal(others + "norm_num_groups = 0\ndown_block_types = [\"DownBlock2D\", \"DownBlock2D\"]"),
                 "network.norm_num_groups: 0 (null) is for Skip blocks alone"));
}
