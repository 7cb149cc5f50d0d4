// The network of DiT, held against diffusers' numbers: tests/parity/make_diffusers_dit.py.
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/module.h>

#include <array>
#include <cstdio>
#include <map>

#include "io/files.h"
#include "io/json.h"
#include "retort/forward_mode.h"
#include "retort/new_weights.h"
#include "support/parity.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

Json parity() { return Json::parse(read_text(source_dir() + "/tests/parity/diffusers_dit.json")); }

// The numbers that name and place decide, as the script has them.
Tensor recipe(const std::string& name, at::IntArrayRef shape) {
  constexpr int64_t mask = 0xFFFFFFFF;
  int64_t seed = 0;
  for (const char letter : name) {
    seed = (seed * 31 + static_cast<unsigned char>(letter)) & mask;
  }
  const auto mixed = [&](const Tensor& h, int64_t shift) { return h.bitwise_xor(h.bitwise_right_shift(shift)); };
  Tensor h = (at::arange(c10::multiply_integers(shape), at::kLong) * 2654435761 + seed).bitwise_and(mask);
  h = (mixed(h, 15) * 2246822519).bitwise_and(mask);
  h = (mixed(h, 13) * 3266489917).bitwise_and(mask);
  return (mixed(h, 16).to(at::kDouble) / 4294967296.0 - 0.5).view(shape);
}

void fill(Network& network) {
  const at::NoGradGuard no_grad;
  for (const auto& p : network.module()->named_parameters()) {
    const std::string& name = p.key();
    const bool is_norm = name.find("norm3") != std::string::npos && name.ends_with("weight");
    Tensor(p.value()).copy_(recipe(name, p.value().sizes()) * 0.6 + (is_norm ? 1 : 0));
  }
}

std::string toml_of(const Json& config) {
  std::string out;
  for (const auto& [key, value] : config.items()) {
    out += key + " = " + value.dump() + "\n";
  }
  return out;
}

ModelSpec spec_of(const Json& config, int64_t size) {
  return {{config["in_channels"].get<int64_t>(), size, size},
          label_inputs(config["num_embeds_ada_norm"].get<int64_t>())};
}

constexpr const char* tiny =
    "num_attention_heads = 2\nattention_head_dim = 8\nnum_layers = 2\nsample_size = 8\nnum_embeds_ada_norm = 7\n";

std::string hash_of(const std::string& text) {
  uint64_t h = 0xCBF29CE484222325ULL;
  for (const char byte : text) {
    h = (h ^ static_cast<unsigned char>(byte)) * 0x100000001B3ULL;
  }
  std::array<char, 17> out{};
  std::snprintf(out.data(), out.size(), "%016lx", static_cast<unsigned long>(h));
  return out.data();
}

}  // namespace

TEST_CASE("DiT has diffusers' tensors, and its numbers in both precisions") {
  const Json cases = parity()["cases"];
  REQUIRE(cases.size() == 4);
  for (const Json& c : cases) {
    const auto name = c["name"].get<std::string>();
    CAPTURE(name);
    const Json& config = c["config"];
    const auto size = c["size"].get<int64_t>();
    TestHost host("type = \"betas\"", spec_of(config, size));
    const auto network = host.make_plugin<Network>("dit_transformer_2d", toml_of(config));
    std::map<std::string, std::vector<int64_t>> tensors;
    for (const auto& p : network->module()->named_parameters()) {
      tensors[p.key()] = p.value().sizes().vec();
    }
    CHECK((tensors == c["tensors"].get<decltype(tensors)>()));
    CHECK(network->module()->named_buffers().size() == 0);
    fill(*network);
    const auto channels = config["in_channels"].get<int64_t>(), classes = config["num_embeds_ada_norm"].get<int64_t>();
    const Tensor x = recipe("x", {3, channels, size, size}) * 4;
    const Tensor time = at::tensor({0.0, 421.3, 999.0}, at::kFloat);
    const Conditioning labels{{inputs::labels, at::tensor({int64_t{0}, classes - 1, classes}, at::kLong)}};
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      const bool single = type == at::kFloat;
      network->module()->to(type);
      fill(*network);
      const at::NoGradGuard no_grad;
      const Tensor ours = network->forward(x.to(type), time, labels);
      const auto numbers = c[single ? "float32" : "float64"].get<std::vector<double>>();
      const Tensor theirs = at::tensor(numbers, at::kDouble).view({3, channels, size, size});
      REQUIRE(ours.sizes() == theirs.sizes());
      CHECK((ours.scalar_type() == type));
      const Tensor apart = ours.to(at::kDouble) - theirs;
      const double difference = most(apart) / most(theirs);
      CAPTURE(difference);
      CHECK(difference < 1e-5);
      // The first row's time is 0. At the others diffusers takes the frequencies in float32, whose exp is another on
      // another processor: diffusers itself differs there by 6e-6 between AVX2 and AVX-512.
      CHECK(most(apart[0]) / most(theirs) < (single ? 1e-5 : 1e-12));
      note_difference("network", "dit_transformer_2d: " + name + (single ? ", float32" : ", float64"), "diffusers",
                      difference);
    }
  }
}

TEST_CASE("DiT-XL/2 has the names and shapes of diffusers' model, without the memory") {
  const Json wanted = parity()["dit_xl_2"];
  TestHost host("type = \"betas\"", ModelSpec{{4, 32, 32}, label_inputs(1000)});
  const NewWeights::OnMeta on_meta;
  const auto network = host.make_plugin<Network>("dit_transformer_2d", "out_channels = 8");
  std::map<std::string, Tensor> sorted;
  int64_t numbers = 0;
  for (const auto& p : network->module()->named_parameters()) {
    CHECK(p.value().is_meta());
    sorted[p.key()] = p.value();
    numbers += p.value().numel();
  }
  std::string text;
  for (const auto& [name, p] : sorted) {
    std::string shape;
    for (const int64_t n : p.sizes()) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(n);
    }
    text += name + " [" + shape + "]\n";
  }
  CHECK(sorted.size() == wanted["tensors"].get<size_t>());
  CHECK(numbers == wanted["parameters"].get<int64_t>());
  CHECK(hash_of(text) == wanted["hash"].get<std::string>());
}

TEST_CASE("DiT's last conditioning is the first block's, and no label is the class after the last") {
  TestHost host("type = \"betas\"", ModelSpec{{4, 8, 8}, label_inputs(7)});
  const auto network = host.make_plugin<Network>("dit_transformer_2d", tiny);
  const Tensor x = normal({2, 4, 8, 8}).to(at::kFloat), time = at::tensor({3.0F, 700.5F});
  const auto ask = [&](const Conditioning& given) {
    const at::NoGradGuard no_grad;
    return network->forward(x, time, given);
  };
  CHECK(most(ask({})) == 0);  // it begins without effect
  fill(*network);
  const Conditioning none{{inputs::labels, at::full({2}, 7, at::kLong)}};
  CHECK(at::equal(ask({}), ask(none)));
  CHECK(!at::equal(ask({}), ask({{inputs::labels, at::full({2}, 6, at::kLong)}})));
  // With all gates closed a block has no say but by what it is told of step and class.
  const at::NoGradGuard no_grad;
  auto parameters = network->module()->named_parameters();
  for (const char* block : {"0", "1"}) {
    parameters["transformer_blocks." + std::string(block) + ".norm1.linear.weight"].zero_();
    parameters["transformer_blocks." + std::string(block) + ".norm1.linear.bias"].zero_();
  }
  const Tensor before = ask({});
  parameters["transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight"].add_(1);
  CHECK(at::equal(ask({}), before));
  parameters["transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"].add_(1);
  CHECK(!at::equal(ask({}), before));
}

TEST_CASE("DiT works in half precision, and its derivatives are those of differences") {
  TestHost host("type = \"betas\"", ModelSpec{{4, 8, 8}, label_inputs(7)});
  const auto network = host.make_plugin<Network>("dit_transformer_2d", tiny);
  network->module()->to(at::kDouble);
  fill(*network);
  const Tensor x = normal({2, 4, 8, 8}), dx = normal({2, 4, 8, 8}, 1), time = at::tensor({3.0, 700.5}, at::kDouble);
  const Conditioning given{{inputs::labels, at::tensor({1, 5}, at::kLong)}};
  const auto f = [&](const Tensor& at) { return network->forward(at, time, given); };
  Tensor exact, forward;
  {
    const at::NoGradGuard no_grad;
    exact = f(x);
    const double e = 1e-5;
    const Tensor difference = (f(x + e * dx) - f(x - e * dx)) / (2 * e);
    const ForwardMode mode;
    forward = mode.of([&] { return f(mode.with(x, dx)); }, "").derivative;
    CHECK(most(forward - difference) < 1e-6 * (1 + most(difference)));
  }
  // The derivative of the squared gradient, twice backwards: by the attention that has one.
  const ForwardMode plain_attention;
  const Tensor at = x.clone().requires_grad_();
  const Tensor gradient = torch::autograd::grad({f(at).sin().sum()}, {at}, {}, {}, /*create_graph=*/true)[0];
  const Tensor second = torch::autograd::grad({gradient.square().sum()}, {at})[0];
  const auto squares = [&](const Tensor& place) {
    const Tensor leaf = place.clone().requires_grad_();
    return torch::autograd::grad({f(leaf).sin().sum()}, {leaf})[0].square().sum().item<double>();
  };
  const double e = 1e-5, along = (squares(x + e * dx) - squares(x - e * dx)) / (2 * e);
  CHECK((second * dx).sum().item<double>() == doctest::Approx(along).epsilon(1e-5));

  network->module()->to(at::kBFloat16);
  const at::NoGradGuard no_grad;
  const Tensor rounded = network->forward(x.to(at::kBFloat16), time.to(at::kFloat), given);
  CHECK((rounded.scalar_type() == at::kBFloat16));
  CHECK(rms(rounded.to(at::kDouble) - exact) < 0.05 * rms(exact));
}

TEST_CASE("what DiT does not support is one line") {
  TestHost host("type = \"betas\"", ModelSpec{{4, 8, 8}, label_inputs(7)}), wide("type = \"ve\"", ModelSpec{{4, 8, 6}});
  const auto error = [](TestHost& where, const std::string& toml) {
    return request_error([&] { where.make_plugin<Network>("dit_transformer_2d", toml); });
  };
  const std::string base = tiny;
  CHECK(contains(error(host, base + "norm_type = \"ada_norm_single\""), "network.norm_type: "));
  CHECK(contains(error(host, base + "activation_fn = \"swiglu\""), "network.activation_fn: "));
  CHECK(contains(error(host, base + "out_channels = 5"),
                 "network.out_channels: 5 is not supported; expected in_channels, 4, or twice that"));
  CHECK(contains(error(host, base + "in_channels = 3"), "network.in_channels: is 3, but samples have 4 channel(s)"));
  CHECK(contains(error(host, base + "patch_size = 3"), "a multiple of patch_size, 3; samples have shape [4, 8, 8]"));
  CHECK(
      contains(error(host, "num_attention_heads = 1\nattention_head_dim = 6\nnum_layers = 1"), "is no multiple of 4"));
  CHECK(contains(error(host, "num_attention_heads = 2\nattention_head_dim = 8\nnum_layers = 1"),
                 "network.num_embeds_ada_norm: is 1000, but there are 7 classes"));
  CHECK(contains(error(wide, base), "is for square pictures"));
}
