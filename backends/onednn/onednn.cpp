/// Frozen networks by oneDNN, on the processor.
///
/// A network is traced once for each batch size and lowered: convolutions run as oneDNN primitives with packed weights
/// and the residual fused in, GroupNorm with scale, shift and SiLU as one kernel of our own (Highway), channels-last
/// throughout; what is neither falls back to LibTorch's operator for that part. Batches run in chunks that fit the
/// cache. Training is LibTorch's. precision = "bfloat16" keeps pictures in bfloat16 between convolutions; "auto"
/// measures at the start whether that is faster here by a quarter at least. Source: oneDNN
/// (https://github.com/uxlfoundation/oneDNN) 3.
#include <retort/backend.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/nn/module.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>

#include "graph.h"

using namespace retort;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

// The library of kernels lies beside this one.
const retort_onednn::Kernels& kernels() {
  static const retort_onednn::Kernels* const table = [] {
    if (sanitized) {
      throw RequestError(
          "backend 'onednn' is off under sanitizers, which cannot keep its oneDNN apart from LibTorch's");
    }
    Dl_info self{};
    dladdr(reinterpret_cast<const void*>(&kernels), &self);
    const std::filesystem::path path =
        std::filesystem::path(self.dli_fname).parent_path() / "libretort_onednn_kernels.so";
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    if (library == nullptr) {
      throw Error(std::string("its kernels cannot be loaded: ") + dlerror());
    }
    using Table = const retort_onednn::Kernels* (*)();
    const auto* loaded = reinterpret_cast<Table>(dlsym(library, "retort_onednn_kernels"))();
    // Where LibTorch's copy of oneDNN's inline functions wins, products fail and all else works: so a product is tried.
    const std::array<float, 4> a = {1, 2, 3, 4}, b = {5, 6, 7, 8}, product = {19, 22, 43, 50};
    std::array<float, 4> c{};
    if (loaded->gemm(2, 2, 2, a.data(), b.data(), c.data()) != 0 || c != product) {
      throw Error("oneDNN computes a wrong product beside LibTorch's own oneDNN; use another backend");
    }
    return loaded;
  }();
  return *table;
}

class Trainable final : public Evaluator {
 public:
  explicit Trainable(std::shared_ptr<Network> network) : network_(std::move(network)) {}
  Tensor operator()(const Tensor& x, const Tensor& noise, const Tensor& labels) override {
    return network_->forward(x, noise, labels);
  }

 private:
  std::shared_ptr<Network> network_;
};

class Compiled final : public Evaluator {
 public:
  Compiled(std::shared_ptr<Network> network, bool bfloat16, int64_t chunk)
      : network_(std::move(network)), bfloat16_(bfloat16), chunk_(chunk) {}

  Tensor operator()(const Tensor& x, const Tensor& noise, const Tensor& labels) override {
    const at::NoGradGuard no_grad;
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    const int64_t rows = x.size(0);
    if (rows == 0) {
      return network_->forward(x, noise, labels);
    }
    std::vector<Tensor> out;
    for (int64_t i = 0; i < rows; i += chunk_) {
      const int64_t n = std::min(chunk_, rows - i);
      const auto part = [&](const Tensor& t) { return t.defined() ? t.narrow(0, i, n) : t; };
      out.push_back(graph(part(x), part(noise), part(labels)).run(part(x), part(noise), part(labels)));
    }
    return out.size() == 1 ? out[0] : at::cat(out);
  }

  void refresh() override { ++weights_; }

  std::string profile(const Tensor& x, const Tensor& noise, const Tensor& labels, int64_t rounds) override {
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    const int64_t n = std::min(chunk_, x.size(0));
    const auto part = [&](const Tensor& t) { return t.defined() ? t.narrow(0, 0, n) : t; };
    Graph& lowered = graph(part(x), part(noise), part(labels));
    lowered.run(part(x), part(noise), part(labels));
    lowered.forget_times();
    for (int64_t i = 0; i < rounds; ++i) {
      lowered.run(part(x), part(noise), part(labels), true);
    }
    double total = 0;
    for (const LoweredStep& step : lowered.steps()) {
      total += step.seconds;
    }
    std::string out = "A chunk of " + std::to_string(n) + " rows, " +
                      std::to_string(std::lround(total / static_cast<double>(rounds) * 1e6)) + " us:\n";
    for (const LoweredStep& step : lowered.steps()) {
      if (step.what.starts_with("prim::")) {  // lists are handed on, not computed
        continue;
      }
      char line[256];
      std::snprintf(line, sizeof line, "%8.1f us %5.1f %%  %-58s %s\n",
                    step.seconds / static_cast<double>(rounds) * 1e6, 100 * step.seconds / total, step.what.c_str(),
                    step.how.c_str());
      out += line;
    }
    return out;
  }

 private:
  Graph& graph(const Tensor& x, const Tensor& noise, const Tensor& labels) {
    if (const int64_t now = weights_; now != packed_) {
      packed_weights_.refresh();
      packed_ = now;
    }
    auto& made = graphs_[{x.sizes().vec(), noise.defined(), labels.defined()}];
    if (!made) {
      made = std::make_unique<Graph>(*network_, x, noise, labels, bfloat16_, kernels(), packed_weights_);
    }
    return *made;
  }

  std::shared_ptr<Network> network_;
  bool bfloat16_;
  int64_t chunk_;
  std::mutex mutex_;
  std::atomic<int64_t> weights_ = 0;  // how often the weights have changed
  int64_t packed_ = 0;                // which of their states is packed
  PackedWeights packed_weights_{kernels()};
  std::map<std::tuple<std::vector<int64_t>, bool, bool>, std::unique_ptr<Graph>> graphs_;
};

// The least seconds of a convolution in the middle of a network.
double seconds_of_convolution(bool bfloat16) {
  const retort_onednn::ConvolutionShape shape{4, 64, 32, 32, 64, 32, 32,       3,    3,     1,
                                              1, 1,  1,  1,  1,  1,  bfloat16, true, false, 1};
  retort_onednn::Convolution* convolution = kernels().make_convolution(shape);
  if (convolution == nullptr) {
    return std::numeric_limits<double>::infinity();
  }
  const Tensor weight = at::ones({64, 64, 3, 3}), bias = at::ones({64});
  kernels().set_weights(convolution, weight.const_data_ptr<float>(), bias.const_data_ptr<float>());
  const Tensor x = at::ones({4, 32, 32, 64}, bfloat16 ? at::kBFloat16 : at::kFloat);
  const Tensor y = at::empty_like(x);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 12; ++i) {
    const auto began = std::chrono::steady_clock::now();
    kernels().convolve(convolution, x.const_data_ptr(), nullptr, y.mutable_data_ptr());
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  kernels().free_convolution(convolution);
  return least;
}

}  // namespace

class OneDnn final : public Backend {
 public:
  explicit OneDnn(Params& p)
      : threads_(p.get("threads", 0, "0: one per core", at_least(0))),
        precision_(p.choice("precision", "float32", {"float32", "bfloat16", "auto"},
                            "of frozen networks; training stays in float32")),
        chunk_(p.get("chunk", 16, "rows that run through the network at once", at_least(1))) {
    if (p.is_describing()) {
      return;
    }
    if (threads_ > 0) {
      at::set_num_threads(static_cast<int>(threads_));
    }
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    kernels();
    constexpr double worth = 1.25;
    bfloat16_ = precision_ == "bfloat16" ||
                (precision_ == "auto" && worth * seconds_of_convolution(true) < seconds_of_convolution(false));
  }

  c10::Device device() const override { return at::kCPU; }
  c10::ScalarType dtype() const override { return at::kFloat; }
  double tolerance() const override { return bfloat16_ ? 1e-2 : 1e-5; }

  void place(Network& network) const override {
    const at::NoGradGuard no_grad;
    network.module()->to(dtype());
    for (Tensor& p : network.module()->parameters()) {
      if (p.dim() == 4) {
        p.set_data(p.contiguous(at::MemoryFormat::ChannelsLast));
      }
    }
  }
  std::shared_ptr<Evaluator> trainable(std::shared_ptr<Network> network) const override {
    return std::make_shared<Trainable>(std::move(network));
  }
  std::shared_ptr<Evaluator> compile(std::shared_ptr<Network> network) const override {
    return std::make_shared<Compiled>(std::move(network), bfloat16_, chunk_);
  }
  std::string describe() const override {
    return std::string(kernels().describe()) + ", " + std::to_string(at::get_num_threads()) + " thread(s), " +
           (bfloat16_ ? "bfloat16" : "float32");
  }

 private:
  int64_t threads_;
  std::string precision_;
  int64_t chunk_;
  bool bfloat16_ = false;
};

RETORT_PLUGIN(OneDnn, backend, onednn)
