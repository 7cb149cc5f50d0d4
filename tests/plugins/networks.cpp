#include <torch/nn/module.h>

#include "io/files.h"
#include "support/support.h"
#include "support/torchscript.h"

using namespace retort;
using namespace retort::test;

namespace {

std::shared_ptr<Network> unet(TestHost& host, const std::string& toml) {
  auto network = host.make_plugin<Network>("unet", toml);
  at::manual_seed(0);
  const at::NoGradGuard no_grad;  // last layers begin at zero, which would hide everything before them
  for (Tensor& p : network->module()->parameters()) {
    if (most(p) == 0) {
      p.copy_(normal(p.sizes(), static_cast<uint64_t>(p.numel())) * 0.1);
    }
  }
  network->module()->to(at::kDouble);
  return network;
}

}  // namespace

TEST_CASE("the U-Net keeps shapes, odd ones too, and treats rows alone") {
  for (const auto& [shape, toml] :
       {std::pair(std::vector<int64_t>{1, 28, 28}, "patch = 2\nwidths = [16, 32]\nattention = [1]"),
        std::pair(std::vector<int64_t>{3, 15, 9}, "widths = [8, 16, 16]\nattention = [0, 2]\nblocks = 2")}) {
    TestHost host("type = \"ve\"", ModelSpec{shape, label_inputs(10)});
    const auto network = unet(host, toml);
    network->module()->eval();
    std::vector<int64_t> batch = {4};
    batch.insert(batch.end(), shape.begin(), shape.end());
    const Tensor x = normal(batch), noise = normal({4}, 2), labels = at::tensor({0, 3, 9, 10}, at::kLong);
    const at::NoGradGuard no_grad;
    const Tensor all = network->forward(x, noise, {{inputs::labels, labels}});
    CHECK(all.sizes() == x.sizes());
    for (int64_t i = 0; i < 4; ++i) {
      const Tensor one =
          network->forward(x.narrow(0, i, 1), noise.narrow(0, i, 1), {{inputs::labels, labels.narrow(0, i, 1)}});
      CHECK(most(one - all.narrow(0, i, 1)) < 1e-10);
    }
    CHECK(most(all - network->forward(x, noise, {{inputs::labels, at::full({4}, 10, at::kLong)}})) >
          1e-6);                                                                           // the label matters
    CHECK(most(all - network->forward(x, noise + 1, {{inputs::labels, labels}})) > 1e-6);  // so does the noise level
  }
}

TEST_CASE("a network of low embedding frequencies changes slowly with the noise label") {
  TestHost host("type = \"ve\"", ModelSpec{{1, 8, 8}, {}});
  const std::string shape = "widths = [8]\nattention = []\n";
  const Tensor x = normal({8, 1, 8, 8}), label = normal({8}, 2).abs();
  const at::NoGradGuard no_grad;
  const auto speed = [&](const std::string& more) {
    const auto network = unet(host, shape + more);
    network->module()->eval();
    return (network->forward(x, label + 1e-4, {}) - network->forward(x, label, {})).norm().item<double>() * 1e4;
  };
  CHECK(speed("") == speed("embedding_frequency = 16.0"));
  CHECK(speed("embedding_frequency = 1.0") < 0.3 * speed(""));
}

TEST_CASE("gradients reach every parameter") {
  TestHost host("type = \"ve\"", ModelSpec{{1, 8, 8}, label_inputs(3)});
  const auto network = unet(host, "widths = [8, 16]\nattention = [0, 1]");
  network->forward(normal({3, 1, 8, 8}), normal({3}), {{inputs::labels, at::tensor({0, 1, 2}, at::kLong)}})
      .square()
      .mean()
      .backward();
  for (const auto& p : network->module()->named_parameters()) {
    CAPTURE(p.key());
    CHECK(p.value().grad().defined());
    if (p.key().find("qkv.bias") == std::string::npos &&
        p.value().grad().defined()) {  // a key's bias shifts all scores alike
      CHECK(most(p.value().grad()) > 0);
    }
  }
}

TEST_CASE("impossible architectures are refused in one line") {
  TestHost host("type = \"ve\"", ModelSpec{{1, 28, 28}, label_inputs(10)});
  const auto error = [&](const std::string& toml) {
    return request_error([&] { host.make_plugin<Network>("unet", toml); });
  };
  CHECK(contains(error("patch = 3"), "network.patch: 3 does not divide the picture of 28 x 28"));
  CHECK(contains(error("widths = [20]"), "20 is not a multiple of groups = 8"));
  CHECK(contains(error("attention = [5]"), "level 5 is out of range; expected 0 to 1"));
  TestHost points("type = \"ve\"", ModelSpec{{2}});
  CHECK(contains(request_error([&] { points.make_plugin<Network>("unet"); }), "'mlp' is for points"));
}

TEST_CASE("bfloat16 stays near float32") {
  const ModelSpec spec{{1, 28, 28}, label_inputs(10)};
  TestHost host("type = \"ve\"", spec);
  const auto network = unet(host, "patch = 2\nwidths = [16, 32]\nattention = [1]");
  network->module()->to(at::kFloat);
  network->module()->eval();
  const Tensor x = normal({4, 1, 28, 28}).to(at::kFloat), noise = normal({4}).to(at::kFloat),
               labels = at::zeros({4}, at::kLong);
  const auto half = host.make_plugin<Backend>("cpu", "precision = \"bfloat16\"");
  const Tensor exact = (*host.backend().compile(network))(x, noise, {{inputs::labels, labels}});
  const Tensor rounded = (*half->compile(network))(x, noise, {{inputs::labels, labels}}).to(at::kFloat);
  CHECK(((rounded - exact).norm() / exact.norm()).item<double>() < 0.05);
  CHECK(!at::equal(rounded, exact));
}

TEST_CASE("a TorchScript file is a network like any other") {
  Folder folder;
  write_picture_script(folder / "net.pt");
  TestHost host("type = \"ve\"", ModelSpec{{16, 8, 8}});
  const std::string toml = "file = \"" + (folder / "net.pt").string() + "\"";
  const auto network = host.make_plugin<Network>("torchscript", toml),
             again = host.make_plugin<Network>("torchscript", toml);
  std::vector<std::string> names;
  for (const auto& p : network->module()->named_parameters()) {
    names.push_back(p.key());
  }
  CHECK(names == std::vector<std::string>{"body.w0", "body.w1", "body.scale", "body.shift"});
  // Its weights are those of the module that it shows: moved, and changed, through it.
  network->module()->to(at::kDouble);
  const Tensor x = normal({2, 16, 8, 8}), noise = normal({2}, 1);
  const Tensor before = network->forward(x, noise, {}).detach();
  CHECK(most(before - again->forward(x.to(at::kFloat), noise.to(at::kFloat), {}).to(at::kDouble)) < 1e-5);
  {
    const at::NoGradGuard no_grad;
    network->module()->named_parameters()["body.w1"].zero_();
  }
  CHECK(most(network->forward(x, noise, {}) - x) == 0);

  CHECK(contains(request_error([&] { host.make_plugin<Network>("torchscript", "file = \"nowhere.pt\""); }),
                 "no such file"));
  write_text(folder / "text.pt", "not a script");
  CHECK(contains(request_error([&] {
                   host.make_plugin<Network>("torchscript", "file = \"" + (folder / "text.pt").string() + "\"");
                 }),
                 "cannot be read as TorchScript"));
  TestHost labelled("type = \"ve\"", ModelSpec{{16, 8, 8}, label_inputs(10)});
  CHECK(contains(request_error([&] { labelled.make_plugin<Network>("torchscript", toml); }),
                 "expected (x, time, labels)"));
}
