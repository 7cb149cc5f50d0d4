/// LibTorch on the processor.
///
/// float32 or float64 throughout, or bfloat16 for the networks' matrix products (autocast) with weights, states and
/// norms in float32. Convolutions run in channels-last layout, which is the faster one on processors.
///
/// weights = "stored" keeps each weight in the type that its file has, and where it lies in a file of diffusers: a
/// model of billions of numbers then takes its file's size once, however many networks are made of it. Layers of
/// diffusers' models convert their own weights while they compute, in `precision`; those of other networks are
/// converted at once. What is stored in half precision cannot be trained as a whole: `student.merged = false` trains a
/// change beside it.
///
///     [backend]
///     type = "cpu"
///     precision = "float32"          # or "bfloat16", or "float64"
///     weights = "converted"          # or "stored"
///     threads = 0                    # one per core
#include <retort/backend.h>
#include <retort/low_rank_layer.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <torch/nn/module.h>

using namespace retort;

namespace {

// Matrix products in bfloat16 while this lives.
class Autocast {
 public:
  explicit Autocast(bool on) : on_(on), before_(at::autocast::is_autocast_enabled(at::kCPU)) {
    if (on_) {
      at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
      at::autocast::set_autocast_enabled(at::kCPU, true);
    }
  }
  ~Autocast() {
    if (on_) {
      at::autocast::clear_cache();
      at::autocast::set_autocast_enabled(at::kCPU, before_);
    }
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool on_, before_;
};

class Trainable final : public CompiledNetwork {
 public:
  Trainable(std::shared_ptr<Network> network, bool bfloat16) : network_(std::move(network)), bfloat16_(bfloat16) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const Autocast autocast(bfloat16_);
    return network_->forward(x, c_noise, condition);
  }

 private:
  std::shared_ptr<Network> network_;
  bool bfloat16_;
};

class Frozen final : public CompiledNetwork {
 public:
  Frozen(std::shared_ptr<Network> network, bool bfloat16) : network_(std::move(network)), bfloat16_(bfloat16) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const at::NoGradGuard no_grad;
    const Autocast autocast(bfloat16_);
    return network_->forward(x, c_noise, condition);
  }

 private:
  std::shared_ptr<Network> network_;
  bool bfloat16_;
};

// Converts the weights of modules that compute in the type of their weights.
void convert_all_but_stored(torch::nn::Module& module, c10::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  for (const auto& part : module.modules()) {
    if (dynamic_cast<const StoredLayer*>(part.get()) != nullptr) {
      continue;
    }
    for (const auto& own : {part->parameters(/*recurse=*/false), part->buffers(/*recurse=*/false)}) {
      for (const Tensor& t : own) {
        if (t.is_floating_point() && t.scalar_type() != dtype) {
          Tensor(t).set_data(t.detach().to(dtype));
        }
      }
    }
  }
}

}  // namespace

class Cpu final : public Backend {
 public:
  explicit Cpu(Params& p)
      : threads_(p.get("threads", 0, "0: one per core", at_least(0))),
        precision_(p.choice("precision", "float32", {"float32", "bfloat16", "float64"},
                            "of networks; bfloat16 keeps weights and states in float32")),
        stored_(p.choice("weights", "converted", {"converted", "stored"},
                         "the type that networks' weights are kept in: that of precision, or their file's") ==
                "stored"),
        channels_last_(p.get("channels_last", true, "memory layout of convolution weights, where they are converted")),
        deterministic_(p.get("deterministic", true, "refuse algorithms whose result may vary from run to run")) {}

  void prepare() const override {
    if (threads_ > 0) {
      at::set_num_threads(static_cast<int>(threads_));
    }
    at::globalContext().setDeterministicAlgorithms(deterministic_, /*warn_only=*/false);
    at::globalContext().setDeterministicFillUninitializedMemory(false);  // nothing here reads what it has not written
  }

  c10::Device device() const override { return at::kCPU; }
  c10::ScalarType dtype() const override { return precision_ == "float64" ? at::kDouble : at::kFloat; }

  void place(Network& network) const override {
    if (stored_) {
      convert_all_but_stored(*network.module(), dtype());
    } else {
      move_weights(network, device(), dtype(), channels_last_);
    }
  }
  std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const override {
    return std::make_shared<Trainable>(std::move(network), precision_ == "bfloat16");
  }
  std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const override {
    return std::make_shared<Frozen>(std::move(network), precision_ == "bfloat16");
  }

  double tolerance() const override { return precision_ == "bfloat16" ? 3e-2 : Backend::tolerance(); }
  std::string describe() const override {
    return "cpu, " + std::to_string(at::get_num_threads()) + " thread(s), " + precision_ +
           (stored_          ? ", weights as stored"
            : channels_last_ ? ", channels-last"
                             : "");
  }

 private:
  int64_t threads_;
  std::string precision_;
  bool stored_, channels_last_, deterministic_;
};

RETORT_PLUGIN(Cpu, backend, cpu)
