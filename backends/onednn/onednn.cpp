/// Networks by oneDNN and kernels of our own, on the processor.
///
/// A network is traced and lowered: convolutions, linear layers and pooling run as oneDNN primitives with packed
/// weights and residual, factor and SiLU fused in; GroupNorm with scale, shift and SiLU, and attention, as kernels of
/// our own (Highway); channels-last throughout. What is none of these falls back to LibTorch's operator for that part,
/// and a network that is not one graph for all inputs to LibTorch as a whole (`retort inspect --compiled CONFIG` shows
/// which). Each thread takes a share of the rows, in chunks that suit the caches. 3 x 3 convolutions are done by
/// Winograd's minimal filtering where that pays (Lavin & Gray 2016). In training, too, convolutions and norms run by
/// these kernels, forward and backward, in float32. precision = "bfloat16" keeps pictures in bfloat16 between
/// convolutions; "auto" measures at the start whether that is faster here by a quarter at least. Source: oneDNN
/// (https://github.com/uxlfoundation/oneDNN) 3.
///
///     [backend]
///     type = "onednn"
///     precision = "auto"             # or "float32", the default, or "bfloat16"
///     threads = 0                    # one per core
#include <retort/backend.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>

#include "graph.h"
#include "training.h"

#ifndef INTRA_OP_PARALLEL
#error "without OpenMP at::parallel_for runs on one thread"
#endif

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

// Threads of the calling thread's parallel regions, while this lives.
class Threads {
 public:
  explicit Threads(int threads) : before_(at::get_num_threads()) { kernels().set_threads(threads); }
  ~Threads() { kernels().set_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

class Compiled final : public CompiledNetwork {
 public:
  Compiled(std::shared_ptr<Network> network, bool bfloat16, int64_t chunk)
      : network_(std::move(network)), bfloat16_(bfloat16), chunk_(chunk) {}

  // Each thread takes its share of the rows, in chunks of its own.
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const at::NoGradGuard no_grad;
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    const int64_t rows = x.size(0);
    if (rows == 0) {
      return network_->forward(x, c_noise, condition);
    }
    const NetworkInputs in{x, c_noise, condition};
    prepare(in);
    if (!as_it_is_.empty()) {
      return in.forward(*network_);
    }
    const int64_t threads = at::get_num_threads();
    const int64_t lanes = rows < threads || at::in_parallel_region() ? 1 : threads;
    std::vector<std::vector<Piece>> work(static_cast<size_t>(lanes));
    for (int64_t lane = 0; lane < lanes; ++lane) {
      int64_t at = rows * lane / lanes;
      for (int64_t left = rows * (lane + 1) / lanes - at; left > 0;) {
        const auto power_of_two = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(left)));
        const int64_t count = std::min(chunk_, power_of_two);
        work[static_cast<size_t>(lane)].push_back({at, count, &graph(in.rows(at, count), lane, lanes == 1)});
        at += count;
        left -= count;
      }
    }
    std::vector<int64_t> sizes = work[0][0].graph->output_sizes();
    sizes[0] = rows;
    const Tensor out = at::empty(sizes, x.options().dtype(at::kFloat));
    const auto run = [&](const Piece& piece) {
      const NetworkInputs part = in.rows(piece.begin, piece.count);
      Tensor to = out.narrow(0, piece.begin, piece.count);
      piece.graph->run(part, to);
    };
    if (lanes == 1) {
      std::for_each(work[0].begin(), work[0].end(), run);
    } else {
      at::parallel_for(0, lanes, 1, [&](int64_t begin, int64_t end) {
        const at::NoGradGuard none_here_either;
        const Threads one(1);
        for (int64_t lane = begin; lane < end; ++lane) {
          std::for_each(work[static_cast<size_t>(lane)].begin(), work[static_cast<size_t>(lane)].end(), run);
        }
      });
    }
    return out;
  }

  void refresh() override { ++weights_; }

  std::string profile(const Tensor& x, const Tensor& c_noise, const Conditioning& condition, int64_t rounds) override {
    const at::NoGradGuard no_grad;
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    const NetworkInputs in{x, c_noise, condition};
    prepare(in);
    if (!as_it_is_.empty()) {
      return "The network runs by LibTorch, as it is: " + as_it_is_ + ".\n";
    }
    const int64_t n = std::min(chunk_, x.size(0));
    const NetworkInputs part = in.rows(0, n);
    Graph& lowered = graph(part, 0, at::get_num_threads() == 1);
    const Threads one(1);
    Tensor out = at::empty(lowered.output_sizes());
    lowered.run(part, out);
    lowered.forget_times();
    for (int64_t i = 0; i < rounds; ++i) {
      lowered.run(part, out, true);
    }
    double total = 0;
    for (const LoweredStep& step : lowered.steps()) {
      total += step.seconds;
    }
    std::string text = "A chunk of " + std::to_string(n) + " row(s) on one thread, " +
                       std::to_string(std::lround(total / static_cast<double>(rounds) * 1e6)) + " us, " +
                       std::to_string(lowered.bytes() >> 10) + " KiB:\n";
    for (const LoweredStep& step : lowered.steps()) {
      char line[256];
      std::snprintf(line, sizeof line, "%8.1f us %5.1f %%  %-62s %s\n",
                    step.seconds / static_cast<double>(rounds) * 1e6, 100 * step.seconds / total, step.what.c_str(),
                    step.how.c_str());
      text += line;
    }
    return text;
  }

 private:
  struct Piece {
    int64_t begin, count;
    Graph* graph;
  };
  using Shape = NetworkInputs::Signature;

  // Follows a change of weights, and chooses how many rows go through the network at once.
  void prepare(const NetworkInputs& in) {
    if (const int64_t now = weights_; now != packed_) {
      packed_weights_.refresh();
      packed_ = now;
    }
    if (!tried_) {
      tried_ = true;
      as_it_is_ = obstacle(in.rows(0, 1));
    }
    if (chunk_ == 0 && as_it_is_.empty()) {
      const int64_t bytes = graph(in.rows(0, 1), 0, at::get_num_threads() == 1).bytes();
      chunk_ = 1;
      while (chunk_ < most_rows && 2 * chunk_ * bytes <= kernels().chunk_bytes(bfloat16_)) {
        chunk_ *= 2;
      }
    }
  }

  // Why the network cannot be lowered, or "": tried on one row.
  std::string obstacle(const NetworkInputs& row) {
    try {
      Graph& one = graph(row, 0, true);
      const TracedNetwork& traced = traces_.begin()->second;
      if (!traced.obstacle.empty() || traced.random) {
        return traced.obstacle;
      }
      const auto run = [&](const NetworkInputs& other) {
        Tensor out = at::empty(one.output_sizes());
        one.run(other, out);
        return out;
      };
      return disagreement(*network_, row, bfloat16_ ? 1e-1 : 1e-3, run);
    } catch (const std::exception& e) {
      const std::string what = e.what();
      return what.substr(0, what.find('\n'));
    }
  }

  // `wide`: for all threads together; else for the one thread of a lane.
  Graph& graph(const NetworkInputs& in, int64_t lane, bool wide) {
    const Shape shape = in.signature();
    auto& made = graphs_[{shape, wide ? -1 : lane}];
    if (!made) {
      if (!traces_.contains(shape)) {
        traces_.emplace(shape, trace(*network_, in));
      }
      std::optional<Threads> one;
      if (!wide) {
        one.emplace(1);
      }
      made = std::make_unique<Graph>(traces_.at(shape), bfloat16_, kernels(), packed_weights_);
    }
    return *made;
  }

  static constexpr int64_t most_rows = 64;
  std::shared_ptr<Network> network_;
  bool bfloat16_;
  int64_t chunk_;
  std::mutex mutex_;
  std::atomic<int64_t> weights_ = 0;  // how often the weights have changed
  int64_t packed_ = 0;                // which of their states is packed
  PackedWeights packed_weights_{kernels()};
  bool tried_ = false;
  std::string as_it_is_;  // why the network runs by LibTorch, or ""
  std::map<Shape, TracedNetwork> traces_;
  std::map<std::pair<Shape, int64_t>, std::unique_ptr<Graph>> graphs_;
};

// The least seconds of a convolution in the middle of a network.
double seconds_of_convolution(bool bfloat16) {
  const retort_onednn::ConvolutionShape shape{.batch = 4,
                                              .in_channels = 64,
                                              .in_height = 32,
                                              .in_width = 32,
                                              .out_channels = 64,
                                              .out_height = 32,
                                              .out_width = 32,
                                              .kernel_height = 3,
                                              .kernel_width = 3,
                                              .padding_height = 1,
                                              .padding_width = 1,
                                              .bfloat16 = bfloat16,
                                              .bias = true};
  retort_onednn::Operation* convolution = kernels().make_convolution(shape);
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
    kernels().run(convolution, x.const_data_ptr(), nullptr, y.mutable_data_ptr());
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  kernels().free_operation(convolution);
  return least;
}

}  // namespace

class OneDnn final : public Backend {
 public:
  explicit OneDnn(Params& p)
      : threads_(p.get("threads", 0, "0: one per core", at_least(0))),
        precision_(p.choice("precision", "float32", {"float32", "bfloat16", "auto"},
                            "of frozen networks; training is in float32")),
        chunk_(p.get("chunk", 0, "rows that run through the network at once; 0: what suits the caches", at_least(0))) {
    if (p.is_describing()) {
      return;
    }
    kernels();
    constexpr double worth = 1.25;
    bfloat16_ = precision_ == "bfloat16" ||
                (precision_ == "auto" && worth * seconds_of_convolution(true) < seconds_of_convolution(false));
  }

  void prepare() const override {
    if (threads_ > 0) {
      at::set_num_threads(static_cast<int>(threads_));
    }
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // nothing here reads what it has not written
  }

  c10::Device device() const override { return at::kCPU; }
  c10::ScalarType dtype() const override { return at::kFloat; }
  double tolerance() const override { return bfloat16_ ? 1e-2 : 1e-5; }

  void place(Network& network) const override { move_weights(network, device(), dtype(), true); }
  std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const override {
    return make_trainable(std::move(network), kernels());
  }
  std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const override {
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
