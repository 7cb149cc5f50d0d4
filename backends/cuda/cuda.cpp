/// Networks on an NVIDIA graphics card.
///
/// Training runs with autocast in bfloat16 or float16 (float16 with loss scaling). Frozen networks are captured as CUDA
/// graphs, one for each shape of input, and replayed: one launch instead of hundreds. Solver updates and distances are
/// single kernels, whose arithmetic is that of the CPU's loops. Needs a CUDA build of LibTorch; where there is no such
/// build or no device, the backend says so in one line. Source: Micikevicius et al. 2017 (arXiv 1710.03740) for
/// mixed precision and loss scaling.
///
///     [backend]
///     type = "cuda"
///     precision = "bfloat16"         # or "float32", the default, or "float16"
///     device = 0
#include <retort/backend.h>
#include <retort/fused.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>
#include <ATen/accelerator/Graph.h>
#include <ATen/autocast_mode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/nn/module.h>

#include <cstdlib>
#include <map>
#include <mutex>

#include "../common/network_inputs.h"
#include "kernels.h"

using namespace retort;

namespace {

enum class Precision { float32, bfloat16, float16 };

// The stream that LibTorch works on, through c10 alone: this library does not link LibTorch's CUDA part.
cudaStream_t current_stream() {
  const c10::impl::VirtualGuardImpl device(at::kCUDA);
  return static_cast<cudaStream_t>(device.getStreamNativeHandle(device.getStream(device.getDevice())));
}

void require(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw Error(std::string(what) + ": " + cudaGetErrorString(status));
  }
}

const FusedKernels fused = {
    [](int terms, const float* coefficients, const float* const* values, float* out, int64_t rows, int64_t columns) {
      require(cuda::combine(terms, coefficients, values, out, rows, columns, current_stream()), "combination");
    },
    [](arithmetic::Measure kind, const float* p, const float* q, float c, float* out, int64_t rows, int64_t columns) {
      require(cuda::mean_measure(kind, p, q, c, out, rows, columns, current_stream()), "distance");
    },
    [](arithmetic::Measure kind, const float* p, const float* q, float c, const float* factor, float* out, int64_t rows,
       int64_t columns) {
      require(cuda::slope(kind, p, q, c, factor, out, rows, columns, current_stream()), "distance's slope");
    }};

// Matrix products in half precision while this lives. Weights that autocast has cast are not kept: they change.
class Autocast {
 public:
  explicit Autocast(Precision precision)
      : before_(at::autocast::is_autocast_enabled(at::kCUDA)), kept_(at::autocast::is_autocast_cache_enabled()) {
    if (precision != Precision::float32) {
      at::autocast::set_autocast_dtype(at::kCUDA, precision == Precision::bfloat16 ? at::kBFloat16 : at::kHalf);
      at::autocast::set_autocast_enabled(at::kCUDA, true);
      at::autocast::set_autocast_cache_enabled(false);
    }
  }
  ~Autocast() {
    at::autocast::set_autocast_enabled(at::kCUDA, before_);
    at::autocast::set_autocast_cache_enabled(kept_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool before_, kept_;
};

class Trainable final : public CompiledNetwork {
 public:
  Trainable(std::shared_ptr<Network> network, Precision precision)
      : network_(std::move(network)), precision_(precision) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const Autocast autocast(precision_);
    return network_->forward(x, c_noise, condition).to(at::kFloat);
  }

 private:
  std::shared_ptr<Network> network_;
  Precision precision_;
};

// A network captured for inputs of one shape: it reads weights and inputs where they were, so a change of weights
// needs no new capture.
class Capture {
 public:
  Capture(Network& network, Precision precision, const NetworkInputs& in)
      : inputs_(in.map([](const Tensor& t) { return t.clone(); })), tensors_(inputs_.tensors()) {
    const c10::impl::VirtualGuardImpl device(at::kCUDA);
    const auto forward = [&] {
      const Autocast autocast(precision);
      return inputs_.forward(network).to(at::kFloat);
    };
    // Capture needs a stream of its own, and libraries that have chosen their algorithms before.
    const c10::Stream before = device.getStream(in.x.device());
    const c10::Stream own = device.getStreamFromGlobalPool(in.x.device(), /*isHighPriority=*/false);
    device.synchronizeDevice(in.x.device().index());
    {
      const c10::StreamGuard on(own);
      constexpr int warm_up = 3;
      for (int i = 0; i < warm_up; ++i) {
        forward();
      }
      device.synchronizeDevice(in.x.device().index());
      graph_.capture_begin();
      output_ = forward();
      graph_.capture_end();
    }
    device.exchangeStream(before);
  }

  Tensor operator()(const NetworkInputs& in) {
    const std::vector<Tensor> given = in.tensors();
    for (size_t i = 0; i < tensors_.size(); ++i) {
      tensors_[i].copy_(given[i], /*non_blocking=*/true);
    }
    graph_.replay();
    return output_.clone();
  }

 private:
  NetworkInputs inputs_;
  std::vector<Tensor> tensors_;  // of these
  Tensor output_;
  at::accelerator::Graph graph_;
};

class Frozen final : public CompiledNetwork {
 public:
  Frozen(std::shared_ptr<Network> network, Precision precision, bool graphs)
      : network_(std::move(network)), precision_(precision), graphs_(graphs) {}

  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const at::NoGradGuard no_grad;
    const std::lock_guard<std::mutex> one_at_a_time(mutex_);
    if (!graphs_ || x.size(0) == 0 || network_->module()->is_training()) {
      const Autocast autocast(precision_);
      return network_->forward(x, c_noise, condition).to(at::kFloat);
    }
    const NetworkInputs in{x, c_noise, condition};
    auto& made = captures_[in.signature()];
    if (!made) {
      made = std::make_unique<Capture>(*network_, precision_, in);
    }
    return (*made)(in);
  }

 private:
  std::shared_ptr<Network> network_;
  Precision precision_;
  bool graphs_;
  std::mutex mutex_;
  std::map<NetworkInputs::Signature, std::unique_ptr<Capture>> captures_;
};

}  // namespace

class Cuda final : public Backend {
 public:
  explicit Cuda(Params& p)
      : index_(p.get("device", 0, "number of the graphics card", at_least(0))),
        precision_(static_cast<Precision>(
            index_of(p.choice("precision", "float32", names, "of matrix products; states and weights are float32")))),
        tf32_(p.get("tf32", false, "let float32 products round their factors to 10 bits of mantissa")),
        graphs_(p.get("graphs", true, "capture frozen networks as CUDA graphs")),
        loss_scale_(
            p.get("loss_scale", 65536.0, "precision = \"float16\": the first factor of the loss", at_least(1))) {
    if (p.is_describing()) {
      return;
    }
    int count = 0;
    if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0) {
      throw RequestError(std::string("backend 'cuda': no CUDA device (") +
                         (status == cudaSuccess ? "the driver lists none" : cudaGetErrorString(status)) + ")");
    }
    if (index_ >= count) {
      throw p.error("device", "is " + std::to_string(index_) + ", but there are " + std::to_string(count) +
                                  " CUDA device(s), counted from 0");
    }
    if (!at::hasCUDA()) {
      throw RequestError(
          "backend 'cuda': this LibTorch was built without CUDA; set RETORT_TORCH_DIR to a CUDA build and build again");
    }
    cudaDeviceProp properties{};
    require(cudaGetDeviceProperties(&properties, static_cast<int>(index_)), "backend 'cuda'");
    name_ = properties.name;
  }

  void prepare() const override {
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // what determinism asks of cuBLAS
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
    at::globalContext().setAllowTF32CuBLAS(tf32_);
    at::globalContext().setAllowTF32CuDNN(tf32_);
    set_fused_kernels(at::kCUDA, &fused);
  }

  c10::Device device() const override { return {at::kCUDA, static_cast<c10::DeviceIndex>(index_)}; }
  c10::ScalarType dtype() const override { return at::kFloat; }

  void place(Network& network) const override { move_weights(network, device(), dtype(), true); }
  std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const override {
    return std::make_shared<Trainable>(std::move(network), precision_);
  }
  std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const override {
    return std::make_shared<Frozen>(std::move(network), precision_, graphs_);
  }
  double tolerance() const override {
    return precision_ != Precision::float32 ? 3e-2 : tf32_ ? 5e-3 : Backend::tolerance();
  }
  double loss_scale() const override { return precision_ == Precision::float16 ? loss_scale_ : 1; }
  std::string describe() const override {
    return name_ + ", " + names[static_cast<size_t>(precision_)] + (tf32_ ? ", TF32" : "") +
           (graphs_ ? ", CUDA graphs" : "");
  }

 private:
  static inline const std::vector<std::string> names = {"float32", "bfloat16", "float16"};
  static size_t index_of(const std::string& name) {
    return static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  }

  int64_t index_;
  Precision precision_;
  bool tf32_, graphs_;
  double loss_scale_;
  std::string name_;
};

RETORT_PLUGIN(Cuda, backend, cuda)
