// Without a device, that the backend says so; with one, its promises.
#include <cuda_runtime_api.h>
#include <torch/nn/module.h>

#include "retort/fused.h"
#include "support/program.h"

using namespace retort;
using namespace retort::test;

namespace {

bool has_device() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0 && at::hasCUDA();
}

}  // namespace

TEST_CASE("the backend is listed everywhere, and says in one line where it cannot work") {
  CHECK(contains(run_retort("list backend").output, "cuda"));
  CHECK(contains(run_retort("inspect cuda --kind backend").output, "tf32"));
  if (!has_device()) {
    const Outcome out = run_retort("run configs/mixture.toml backend.type=cuda");
    CHECK(one_line(out, 2, {"backend 'cuda'"}));
    CHECK((contains(out.output, "no CUDA device") || contains(out.output, "built without CUDA")));
  }
}

TEST_CASE("networks agree with float64 on the processor, captured or not, after a change of weights too" *
          doctest::skip(!has_device())) {
  TestHost host("type = \"ve\"", {{1, 28, 28}, label_inputs(10)});
  const auto reference = host.make_plugin<Backend>("cpu", "precision = \"float64\"");
  const Tensor x = normal({6, 1, 28, 28}, 1), noise = at::linspace(-1, 1, 6), labels = at::arange(6, at::kLong);
  for (const char* settings :
       {"", "graphs = false", "precision = \"bfloat16\"", "precision = \"float16\"", "tf32 = true"}) {
    CAPTURE(std::string(settings));
    const auto backend = host.make_plugin<Backend>("cuda", settings);
    auto mine = host.make_plugin<Network>("unet"), theirs = host.make_plugin<Network>("unet");
    mine->module()->eval();
    theirs->module()->eval();
    backend->place(*mine);
    reference->place(*theirs);
    const auto compiled = backend->compile(mine);
    const at::NoGradGuard no_grad;
    for (uint64_t round = 0; round < 2; ++round) {
      for (auto* network : {&mine, &theirs}) {
        uint64_t i = 0;
        for (Tensor& p : (*network)->module()->parameters()) {
          p.copy_(at::randn(p.sizes(), seeded(round, "weights", i++)) * 0.2);
        }
      }
      compiled->refresh();
      const Tensor exact = (*reference->compile(theirs))(x, noise.to(at::kDouble), {{inputs::labels, labels}});
      const auto card = backend->device();
      const Tensor got = (*compiled)(x.to(card, at::kFloat), noise.to(card), {{inputs::labels, labels.to(card)}}).to(at::kCPU, at::kDouble);
      CHECK(rms(got - exact) / rms(exact) < backend->tolerance());
    }
  }
}

TEST_CASE("fused kernels compute what the processor's loops compute" * doctest::skip(!has_device())) {
  TestHost host;
  const auto backend = host.make_plugin<Backend>("cuda");
  const auto there = [&](const Tensor& t) { return t.to(backend->device(), at::kFloat); };
  const auto back = [](const Tensor& t) { return t.to(at::kCPU, at::kDouble); };
  const Tensor a = times({0.5, -2, 3}), b = times({1, 0.25, -1}), x = normal({3, 1000}, 1), y = normal({3, 1000}, 2);
  CHECK(most(back(combine({{a, there(x)}, {b, there(y)}})) - combine({{a, x}, {b, y}})) < 1e-5);
  for (const auto kind :
       {arithmetic::Measure::square, arithmetic::Measure::absolute, arithmetic::Measure::pseudo_huber}) {
    const Tensor leaf = x.clone().requires_grad_(true), far = there(x).requires_grad_(true);
    const Tensor here = mean_measure(kind, leaf, y, 0.1), value = mean_measure(kind, far, there(y), 0.1);
    CHECK(most(back(value.detach()) - here.detach()) < 1e-5);
    here.sum().backward();
    value.sum().backward();
    CHECK(most(back(far.grad()) - leaf.grad()) < 1e-6);
  }
}
