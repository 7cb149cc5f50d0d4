#include "train/adapter.h"

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include "io/low_rank.h"
#include "support/support.h"

using namespace retort;
using namespace retort::test;

namespace {

// A network of a convolution and a linear layer.
class Small final : public Network {
 public:
  Small() : module_(std::make_shared<torch::nn::Module>("small")) {
    conv_ = module_->register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(2, 3, 3).padding(1)));
    linear_ = module_->register_module("linear", torch::nn::Linear(12, 5));
    module_->to(at::kDouble);
  }
  Tensor forward(const Tensor& x, const Tensor&, const Conditioning&) override {
    return linear_(at::silu(conv_(x)).flatten(1));
  }
  std::shared_ptr<torch::nn::Module> module() override { return module_; }

 private:
  std::shared_ptr<torch::nn::Module> module_;
  torch::nn::Conv2d conv_{nullptr};
  torch::nn::Linear linear_{nullptr};
};

StudentSettings settings_of(const std::string& toml) {
  const Value table = parse_toml("init = \"teacher\"\nadapter = \"lora\"\n" + toml, "test.toml");
  Params p(table, "student", nullptr);
  return StudentSettings(p);
}

}  // namespace

TEST_CASE("the gradients of A and B are those that autograd gives through W0 + scale B A") {
  Small network;
  const Weights weights(network);
  const Adapter adapter(network, weights, settings_of("rank = 2\nalpha = 3\n"), 1);
  const std::vector<Tensor>& f = adapter.factors().tensors;
  REQUIRE(f.size() == 4);
  const std::vector<Tensor> base = weights.copy();
  CHECK(at::equal(adapter.merged(f)[0], base[0]));  // B is zero at first
  {
    const at::NoGradGuard no_grad;
    for (size_t i = 1; i < f.size(); i += 2) {
      Tensor(f[i]).copy_(normal(f[i].sizes(), i));
    }
  }
  weights.assign(adapter.merged(f));
  const Tensor x = normal({4, 2, 2, 2}, 9);
  network.forward(x, {}, {}).square().sum().backward();
  adapter.pull_gradients();
  CHECK(!weights.tensors[0].grad().defined());
  CHECK(!weights.tensors[1].requires_grad());  // biases are frozen

  // The same by autograd alone.
  std::vector<Tensor> leaves;
  for (const Tensor& t : f) {
    leaves.push_back(t.detach().clone().set_requires_grad(true));
  }
  const auto effective = [&](size_t i, const Tensor& w) {
    return w + 1.5 * at::mm(leaves[2 * i + 1].flatten(1), leaves[2 * i].flatten(1)).view(w.sizes());
  };
  const Tensor h = at::silu(at::conv2d(x, effective(0, base[0]), base[1], 1, 1)).flatten(1);
  at::linear(h, effective(1, base[2]), base[3]).square().sum().backward();
  for (size_t i = 0; i < f.size(); ++i) {
    CHECK(most(f[i].grad() - leaves[i].grad()) < 1e-11 * most(leaves[i].grad()));
  }
}

TEST_CASE("patterns choose the layers; one that chooses none is an error that shows names") {
  Small network;
  const Weights weights(network);
  CHECK(Adapter(network, weights, settings_of("layers = [\"conv.*\"]\n"), 0).factors().names ==
        std::vector<std::string>{"conv.lora_A.weight", "conv.lora_B.weight"});
  CHECK(contains(request_error([&] { Adapter(network, weights, settings_of("layers = [\"attention\"]\n"), 0); }),
                 "conv.weight"));
  CHECK(contains(request_error([] {
                   const Value table = parse_toml("adapter = \"lora\"\n", "test.toml");
                   Params p(table, "student", nullptr);
                   StudentSettings{p};
                 }),
                 "expected init = \"teacher\""));
}

TEST_CASE("merging refuses factors that do not belong to the weights") {
  std::map<std::string, Tensor> weights = {{"a.weight", normal({3, 4})}};
  const std::map<std::string, Tensor> good = {{"a.lora_A.weight", normal({2, 4})}, {"a.lora_B.weight", normal({3, 2})}};
  const Tensor before = weights.at("a.weight");
  merge_low_rank(weights, good, 0.5, "x");
  CHECK(at::allclose(weights.at("a.weight"),
                     before + 0.5 * at::mm(good.at("a.lora_B.weight"), good.at("a.lora_A.weight"))));
  std::map<std::string, Tensor> bad = good;
  bad["a.lora_B.weight"] = normal({4, 2});
  CHECK(contains(request_error([&] { merge_low_rank(weights, bad, 1, "x"); }), "another shape"));
  bad = good;
  bad["b.lora_A.weight"] = normal({2, 4});
  CHECK(contains(request_error([&] { merge_low_rank(weights, bad, 1, "x"); }), "does not have"));
}
