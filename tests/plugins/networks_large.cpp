// What large models need of diffusers' networks: blocks that are computed again in the backward pass, weights in the
// type of their file, and a low-rank change that stands beside them.
#include <torch/csrc/autograd/autograd.h>

#include "io/low_rank.h"
#include "retort/low_rank_layer.h"
#include "retort/recompute.h"
#include "support/diffusers_unets.h"
#include "train/adapter.h"

using namespace retort;
using namespace retort::test;

namespace {

// Of each network, the cases whose blocks are of other kinds.
const std::vector<UNetCase>& cases() {
  static const std::vector<UNetCase> all = [] {
    std::vector<UNetCase> out;
    for (const Json& json : unet_parity()["cases"]) {
      out.emplace_back(json);
    }
    return out;
  }();
  return all;
}

StudentSettings beside(const std::string& more = "") {
  const Value table = parse_toml("init = \"teacher\"\nadapter = \"lora\"\nmerged = false\nrank = 2\n" + more, "t.toml");
  Params p(table, "student", nullptr);
  return StudentSettings(p);
}

std::vector<Tensor> gradients_of(const UNetCase& c, Network& network, at::ScalarType dtype,
                                 const std::vector<Tensor>& by) {
  at::manual_seed(3);  // of dropout
  const Tensor out = c.output(network, dtype);
  const Tensor loss = (out * hashed(out.sizes(), direction_stream).to(dtype)).sum();
  return torch::autograd::grad({loss}, by, {}, {}, /*create_graph=*/false, /*allow_unused=*/true);
}

void give_numbers(const Weights& factors) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < factors.tensors.size(); ++i) {
    Tensor(factors.tensors[i]).copy_(hashed(factors.tensors[i].sizes(), 500 + i));
  }
}

}  // namespace

TEST_CASE("blocks that are computed again give the same gradients") {
  REQUIRE(cases().size() > 10);
  for (const UNetCase& c : cases()) {
    CAPTURE(c.name());
    const auto network = c.network(at::kDouble);
    network->module()->train();
    const std::vector<Tensor> weights = network->module()->parameters();
    const std::vector<Tensor> plain = gradients_of(c, *network, at::kDouble, weights);
    const int64_t before = Recompute::count();
    const Recompute on(true);
    const std::vector<Tensor> again = gradients_of(c, *network, at::kDouble, weights);
    CHECK(Recompute::count() > before);
    double greatest = 0;
    for (const Tensor& gradient : plain) {
      greatest = gradient.defined() ? std::max(greatest, most(gradient)) : greatest;
    }
    for (size_t i = 0; i < weights.size(); ++i) {
      REQUIRE(plain[i].defined() == again[i].defined());
      // Sums of branches are taken in another order. Some gradients are zero but for rounding: a key's bias.
      CHECK((!plain[i].defined() || most(plain[i] - again[i]) <= 1e-11 * greatest));
    }
  }
}

TEST_CASE("blocks keep what they are given alone, draw the same numbers again, and have no second derivative") {
  const Recompute on(true);
  const auto module = std::make_shared<torch::nn::Module>();
  const torch::nn::Module& owner = *module;
  Tensor w = module->register_parameter("w", at::ones({3}, at::kDouble));
  int runs = 0;
  const auto part = [&](const Tensor& x, const Tensor& nothing) {
    ++runs;
    CHECK(!nothing.defined());
    return (x * w).sin() * at::rand({3}, at::kDouble);
  };
  at::manual_seed(5);
  const Tensor x = at::full({3}, 0.5, at::kDouble);  // asks for no gradient: only what is within does
  const Tensor y = recomputed(owner, part, x, Tensor());
  at::manual_seed(5);
  const Tensor factor = at::rand({3}, at::kDouble), after = at::rand({3}, at::kDouble);
  CHECK(runs == 1);
  y.sum().backward();
  CHECK(runs == 2);
  CHECK(most(w.grad() - x * x.cos() * factor) < 1e-15);
  CHECK(!at::equal(at::rand({3}, at::kDouble), after));  // the generator stands where it stood before
  const Tensor z = recomputed(owner, part, x.clone().set_requires_grad(true), Tensor()).sum();
  try {
    torch::autograd::grad({z}, {w}, {}, true, /*create_graph=*/true);
    FAIL("expected an Error");
  } catch (const std::exception& e) {
    CHECK(contains(e.what(), "gradient checkpointing has no second derivative"));
  }
  const at::NoGradGuard no_grad;
  const int64_t before = Recompute::count();
  recomputed(owner, part, x, Tensor());
  CHECK(Recompute::count() == before);  // nothing is kept anyway
}

TEST_CASE("a low-rank change beside the weights is the merged one, and its gradients are the chain rule's") {
  for (const UNetCase& c : cases()) {
    CAPTURE(c.name());
    const auto network = c.network(at::kDouble), merged = c.network(at::kDouble);
    const Weights weights(*network);
    const Adapter adapter(*network, weights, beside("alpha = 3\n"), 0);
    CHECK(!adapter.is_merged());
    const Tensor before = c.output(*merged, at::kDouble).detach();
    CHECK(most(c.output(*network, at::kDouble).detach() - before) <= 1e-13 * most(before));  // B begins at zero
    const Weights& factors = adapter.factors();
    give_numbers(factors);
    std::vector<Tensor> changed;
    const Weights theirs(*merged);
    {
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < factors.names.size(); i += 2) {
        for (size_t k = 0; k < theirs.names.size(); ++k) {
          if (low_rank_name(theirs.names[k], 'A') == factors.names[i]) {
            Tensor(theirs.tensors[k])
                .add_(low_rank_change(factors.tensors[i], factors.tensors[i + 1], 1.5).view(theirs.tensors[k].sizes()));
            changed.push_back(theirs.tensors[k]);
          }
        }
      }
    }
    REQUIRE(2 * changed.size() == factors.tensors.size());
    const Tensor wanted = c.output(*merged, at::kDouble).detach();
    CHECK(most(wanted - before) > 1e-3 * most(before));
    CHECK(most(c.output(*network, at::kDouble).detach() - wanted) < 1e-9 * most(wanted));
    const Recompute on(true);  // nothing but the factors asks for a gradient
    const std::vector<Tensor> ours = gradients_of(c, *network, at::kDouble, factors.tensors);
    const std::vector<Tensor> whole = gradients_of(c, *merged, at::kDouble, changed);
    for (size_t i = 0; i < changed.size(); ++i) {
      if (!whole[i].defined()) {
        continue;
      }
      const Tensor w = whole[i].flatten(1), a = factors.tensors[2 * i].flatten(1),
                   b = factors.tensors[2 * i + 1].flatten(1);
      const double scale = most(w) + 1e-12;
      CHECK(most(ours[2 * i].flatten(1) - 1.5 * at::mm(b.t(), w)) < 1e-8 * scale * static_cast<double>(b.numel()));
      CHECK(most(ours[2 * i + 1].flatten(1) - 1.5 * at::mm(w, a.t())) < 1e-8 * scale * static_cast<double>(a.numel()));
    }
  }
}

TEST_CASE("weights in half precision are computed with as if they were converted") {
  for (const UNetCase& c : cases()) {
    for (const auto stored : {at::kBFloat16, at::kHalf}) {
      CAPTURE(c.name());
      const at::NoGradGuard no_grad;
      const auto kept = c.network(stored), converted = c.network(stored);
      converted->module()->to(at::kFloat);
      TestHost host;
      host.make_plugin<Backend>("cpu", "weights = \"stored\"")->place(*kept);
      const Tensor out = c.output(*kept, at::kFloat);
      CHECK((out.scalar_type() == at::kFloat));
      CHECK(most(out - c.output(*converted, at::kFloat)) == 0);
      size_t half = 0;
      for (const Tensor& p : kept->module()->parameters()) {
        half += p.scalar_type() == stored ? 1 : 0;
      }
      CHECK(half > kept->module()->parameters().size() / 2);
    }
  }
}

TEST_CASE("a layer whose change stands beside its weights refuses to be traced") {
  const UNetCase& c = cases()[0];
  const auto network = c.network(at::kFloat);
  const Weights weights(*network);
  const Adapter adapter(*network, weights, beside(), 0);
  give_numbers(adapter.factors());
  TestHost host;
  const auto backend = host.make_plugin<Backend>("onednn");
  const at::NoGradGuard no_grad;
  const auto compiled = backend->compile(network);
  const Tensor exact = c.output(*network, at::kFloat);
  const Tensor x = c.x(at::kFloat);
  CHECK(most((*compiled)(x, c.times(), c.condition(at::kFloat)) - exact) < 1e-5 * most(exact));
  CHECK(contains(compiled->profile(x, c.times(), c.condition(at::kFloat), 1), "stands beside the weights"));
}

TEST_CASE("a change beside the weights is refused where a layer cannot take it") {
  TestHost host("type = \"ve\"", {{2}});
  const auto network = host.make_plugin<Network>("mlp", "width = 8\ndepth = 1");
  const Weights weights(*network);
  CHECK(contains(request_error([&] { Adapter(*network, weights, beside(), 0); }), "student.merged: is false"));
}
