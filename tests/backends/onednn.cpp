#include <dlfcn.h>
#include <torch/nn/module.h>

#include "../../backends/onednn/kernels.h"

#include "io/files.h"
#include "io/json.h"
#include "support/program.h"
#include "support/torchscript.h"

using namespace retort;
using namespace retort::test;

namespace {

// The relative RMS error of a compiled network against the same weights in float64 by LibTorch.
double error_of(const std::string& network_name, const std::string& network_toml, const ModelSpec& spec,
                const std::string& backend_toml, int64_t rows) {
  TestHost host("type = \"ve\"", spec);
  const auto backend = host.make_plugin<Backend>("onednn", backend_toml);
  const auto reference = host.make_plugin<Backend>("cpu", "precision = \"float64\"");
  const auto build = [&](const Backend& on) {
    auto network = host.make_plugin<Network>(network_name, network_toml);
    const at::NoGradGuard no_grad;
    uint64_t i = 0;
    for (Tensor& p : network->module()->parameters()) {
      p.copy_(at::randn(p.sizes(), seeded(3, "weights", i++)) * (p.dim() > 1 ? 0.2 : 0.5));
    }
    network->module()->eval();
    on.place(*network);
    return network;
  };
  std::vector<int64_t> shape = spec.shape;
  shape.insert(shape.begin(), rows);
  const Tensor x = normal(shape, 5), noise = at::linspace(-1, 1, rows, at::kFloat);
  const Tensor labels = spec.classes() > 0 ? at::arange(rows, at::kLong).remainder(spec.classes()) : Tensor();
  const at::NoGradGuard no_grad;
  const Tensor exact = (*reference->compile(build(*reference)))(x, noise, {{inputs::labels, labels}});
  const Tensor got = (*backend->compile(build(*backend)))(x.to(at::kFloat), noise, {{inputs::labels, labels}}).to(at::kDouble);
  REQUIRE(got.sizes() == exact.sizes());
  return rms(got - exact) / rms(exact);
}

}  // namespace

TEST_CASE("every network agrees with float64, in both precisions and at any batch size") {
  struct Case {
    const char* network;
    const char* toml;
    ModelSpec spec;
  };
  const Case cases[] = {
      {"mlp", "", {{2}}},
      {"mlp", "", {{2}, label_inputs(3)}},
      {"convnet", "", {{1, 28, 28}, label_inputs(10)}},
      {"unet", "", {{1, 28, 28}, label_inputs(10)}},
      {"unet", "patch = 2\nattention = [0, 1]", {{1, 28, 28}}},
      {"unet", "widths = [16, 32, 32]\nblocks = 2\nattention = [2]", {{3, 31, 31}}},
  };
  for (const Case& c : cases) {
    CAPTURE(std::string(c.network));
    CAPTURE(std::string(c.toml));
    for (const int64_t rows : {1, 5}) {
      CHECK(error_of(c.network, c.toml, c.spec, "", rows) < 1e-5);
      CHECK(error_of(c.network, c.toml, c.spec, "chunk = 2", rows) < 1e-5);
      CHECK(error_of(c.network, c.toml, c.spec, "precision = \"bfloat16\"", rows) < 1e-2);
    }
  }
}

namespace {

Tensor relative(const Tensor& got, const Tensor& exact) {
  const Tensor difference = got.to(at::kDouble) - exact;
  return difference.norm() / exact.norm();
}

}  // namespace

TEST_CASE("gradients of a network in training agree with LibTorch's in float64") {
  for (const char* toml : {"", "widths = [16, 32]\nblocks = 2\nattention = [0, 1]"}) {
    for (const int64_t rows : {1, 5}) {
      CAPTURE(std::string(toml));
      CAPTURE(rows);
      TestHost host("type = \"ve\"", {{1, 28, 28}, label_inputs(10)});
      const Tensor x = normal({rows, 1, 28, 28}, 5), noise = at::linspace(-1, 1, rows), wanted = normal(x.sizes(), 6);
      const Tensor labels = at::arange(rows, at::kLong);
      const auto gradients = [&](const std::string& name, const std::string& settings) {
        const auto backend = host.make_plugin<Backend>(name, settings);
        auto network = host.make_plugin<Network>("unet", toml);
        {
          const at::NoGradGuard no_grad;
          uint64_t i = 0;
          for (Tensor& p : network->module()->parameters()) {
            p.copy_(at::randn(p.sizes(), seeded(3, "weights", i++)) * 0.2);
          }
        }
        backend->place(*network);
        const Tensor input = x.to(backend->dtype()).clone().requires_grad_(true);
        const auto trained = backend->trainable(network);
        // Twice, as a step follows another: the second adds to the gradients of the first.
        for (int i = 0; i < 2; ++i) {
          ((*trained)(input, noise, {{inputs::labels, labels}}) * wanted.to(backend->dtype())).sum().backward();
        }
        std::vector<std::pair<std::string, Tensor>> out = {{"x", input.grad()}};
        for (const auto& p : network->module()->named_parameters()) {
          out.emplace_back(p.key(), p.value().grad());
        }
        return out;
      };
      const auto exact = gradients("cpu", "precision = \"float64\""), got = gradients("onednn", "");
      REQUIRE(got.size() == exact.size());
      double whole = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        whole = std::max(whole, exact[i].second.norm().item<double>());
      }
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(exact[i].first);
        REQUIRE(got[i].second.defined());
        // Where a gradient is zero but for rounding, against the largest.
        const double off = (got[i].second.to(at::kDouble) - exact[i].second).norm().item<double>();
        CHECK(off < 1e-5 * exact[i].second.norm().item<double>() + 1e-7 * whole);
      }
    }
  }
}

TEST_CASE("a network from outside is compiled as it is, and trained") {
  const Registry outside({test_plugin_dir()});
  TestHost host("type = \"ve\"", {{3, 18, 18}});
  const auto build = [&](const std::string& backend_name, const std::string& settings) {
    const auto backend = host.make_plugin<Backend>(backend_name, settings);
    const Value empty;
    Params p(empty, "network", &host);
    auto network = std::static_pointer_cast<Network>(outside.make("network", "stranger", p));
    const at::NoGradGuard no_grad;
    uint64_t i = 0;
    for (Tensor& w : network->module()->parameters()) {
      w.copy_(at::randn(w.sizes(), seeded(3, "weights", i++)) * 0.1);
    }
    network->module()->eval();
    backend->place(*network);
    return std::pair(backend, network);
  };
  const Tensor noise = at::linspace(-1, 1, 5), x = normal({5, 3, 18, 18}, 7);
  const auto [reference, exact_network] = build("cpu", "precision = \"float64\"");
  const Tensor exact = exact_network->forward(x, noise.to(at::kDouble), {}).detach();
  for (const auto& [settings, limit] : {std::pair("", 1e-5), std::pair("precision = \"bfloat16\"", 1e-2)}) {
    CAPTURE(std::string(settings));
    const auto [backend, network] = build("onednn", settings);
    const at::NoGradGuard no_grad;
    const auto compiled = backend->compile(network);
    CHECK(relative((*compiled)(x.to(at::kFloat), noise, {}), exact).item<double>() < limit);
    const std::string profile = compiled->profile(x.to(at::kFloat), noise, {}, 1);
    CHECK(contains(profile, "attention, 3 head(s) of 16"));
    // A processor without bfloat16 leaves its convolutions, and what follows them, to LibTorch.
    if (std::string(settings).empty() || profile.find("aten::_convolution") == std::string::npos) {
      CHECK(contains(profile, "sum, group norm, SiLU"));
    }
    CHECK(contains(profile, "aten::layer_norm"));
  }
  const auto [backend, network] = build("onednn", "");
  const auto trained = backend->trainable(network);
  (*trained)(x.to(at::kFloat), noise, {}).square().sum().backward();
  exact_network->forward(x, noise.to(at::kDouble), {}).square().sum().backward();
  const auto exact_weights = exact_network->module()->parameters();
  size_t i = 0;
  for (const Tensor& w : network->module()->parameters()) {
    CHECK(relative(w.grad(), exact_weights[i++].grad()).item<double>() < 1e-4);
  }
}

TEST_CASE("a TorchScript file is compiled layer by layer") {
  Folder folder;
  write_picture_script(folder / "net.pt");
  TestHost host("type = \"ve\"", {{16, 16, 16}});
  const std::string toml = "file = \"" + (folder / "net.pt").string() + "\"";
  const auto backend = host.make_plugin<Backend>("onednn");
  auto network = host.make_plugin<Network>("torchscript", toml), exact = host.make_plugin<Network>("torchscript", toml);
  backend->place(*network);
  exact->module()->to(at::kDouble);
  const Tensor x = normal({3, 16, 16, 16}, 7), noise = at::linspace(-1, 1, 3);
  const at::NoGradGuard no_grad;
  const auto compiled = backend->compile(network);
  CHECK(
      relative((*compiled)(x.to(at::kFloat), noise, {}), exact->forward(x, noise.to(at::kDouble), {})).item<double>() <
      1e-5);
  const std::string profile = compiled->profile(x.to(at::kFloat), noise, {}, 1);
  CHECK(contains(profile, "group norm, SiLU"));
  CHECK(contains(profile, "convolution 16 to 16, 3 x 3, at 16 x 16 + residual"));
}

TEST_CASE(
    "a script of another library runs and trains: what is not known by LibTorch, and as a whole where no trace is "
    "true") {
  for (const bool branches : {false, true}) {
    CAPTURE(branches);
    Folder folder;
    write_foreign_script(folder / "net.pt", branches);
    TestHost host("type = \"ve\"", {{16, 8, 8}});
    const std::string toml = "file = \"" + (folder / "net.pt").string() + "\"";
    const auto backend = host.make_plugin<Backend>("onednn");
    auto network = host.make_plugin<Network>("torchscript", toml),
         exact = host.make_plugin<Network>("torchscript", toml);
    backend->place(*network);
    exact->module()->to(at::kDouble);
    const auto compiled = backend->compile(network), trained = backend->trainable(network);
    const Tensor noise = at::linspace(-1, 1, 3);
    for (const double shift : {-1.0, 1.0}) {  // both sides of the decision
      const Tensor x = normal({3, 16, 8, 8}, 7) + shift;
      const Tensor wanted = exact->forward(x, noise.to(at::kDouble), {});
      CHECK(relative((*compiled)(x.to(at::kFloat), noise, {}), wanted.detach()).item<double>() < 1e-5);
      for (const auto& module : {network->module(), exact->module()}) {
        for (Tensor& p : module->parameters()) {
          p.mutable_grad() = Tensor();
        }
      }
      (*trained)(x.to(at::kFloat), noise, {}).square().sum().backward();
      wanted.square().sum().backward();
      const auto got = network->module()->parameters(), right = exact->module()->parameters();
      for (size_t i = 0; i < got.size(); ++i) {
        REQUIRE(got[i].grad().defined());
        CHECK(relative(got[i].grad(), right[i].grad()).item<double>() < 1e-4);
      }
    }
    const std::string profile = compiled->profile(normal({3, 16, 8, 8}).to(at::kFloat), noise, {}, 1);
    CHECK(contains(profile, branches ? "runs by LibTorch, as it is" : "convolution 16 to 16, 3 x 3"));
  }
}

// LibTorch exports inline functions of its own oneDNN. Where they win over those of the backend's, convolutions stay
// right and matrix products do not, so a product is what has to be tried.
TEST_CASE("oneDNN's matrix product is right within the program, beside LibTorch's own oneDNN") {
  const std::string library = plugin_dir() + "/backends/libretort_onednn_kernels.so";
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  REQUIRE(handle != nullptr);
  const auto table = reinterpret_cast<const retort_onednn::Kernels* (*)()>(dlsym(handle, "retort_onednn_kernels"))();
  const Tensor a = normal({37, 53}, 1).to(at::kFloat), b = normal({53, 29}, 2).to(at::kFloat);
  const Tensor c = at::zeros({37, 29});
  CHECK(table->gemm(37, 29, 53, a.const_data_ptr<float>(), b.const_data_ptr<float>(), c.mutable_data_ptr<float>()) ==
        0);
  CHECK(most(c.to(at::kDouble) - at::mm(a.to(at::kDouble), b.to(at::kDouble))) < 1e-4);
  const std::string needed = shell("readelf -d '" + library + "' | grep NEEDED").output;
  CHECK(contains(needed, "libdnnl"));
  CHECK(needed.find("libtorch") == std::string::npos);
  CHECK(needed.find("libc10") == std::string::npos);
  const Outcome check = run_retort("check onednn");
  CHECK(check.code == 0);
  CHECK(contains(check.output, "oneDNN 3."));
}

TEST_CASE("a run gives the same table by cpu and by onednn, and backends can be mixed") {
  Folder folder;
  const auto metrics = [&](const std::string& name, const std::string& overrides) {
    const Outcome out = run_retort("run " + mixture_config + small +
                                   " loss.type=cm metric.ode_error.exact_samples=0 run.output=" + folder.string() +
                                   "/" + name + " " + overrides);
    CAPTURE(out.output);
    REQUIRE(out.code == 0);
    return Json::parse(read_text(folder / name / "results.json"))["students"][0]["metrics"];
  };
  const Json cpu = metrics("cpu", ""), onednn = metrics("onednn", "backend.type=onednn");
  const Json mixed = metrics("mixed", "backend.teacher.type=onednn");
  for (const auto& [key, value] : cpu.items()) {
    CAPTURE(key);
    CHECK(onednn[key].get<double>() == doctest::Approx(value.get<double>()).epsilon(1e-3));
    CHECK(mixed[key].get<double>() == doctest::Approx(value.get<double>()).epsilon(1e-3));
  }
  CHECK(one_line(
      run_retort("run " + mixture_config + small +
                 " backend.teacher.type=cpu backend.teacher.precision=float64 run.output=" + folder.string() + "/x"),
      2, {"backend.teacher", "expected one device and type"}));
}
