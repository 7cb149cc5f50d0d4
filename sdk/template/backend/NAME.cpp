/// LibTorch on the processor, as it comes: the least that a backend must do.
///
///     [backend]
///     type = "@name@"
///     precision = "float32"
#include <retort/backend.h>
#include <retort/plugin.h>

#include <ATen/Parallel.h>
#include <torch/nn/module.h>

using namespace retort;

namespace {

// The network as it is; `gradients` says whether a call may be differentiated.
class Plain final : public CompiledNetwork {
 public:
  Plain(std::shared_ptr<Network> network, bool gradients) : network_(std::move(network)), gradients_(gradients) {}
  Tensor operator()(const Tensor& x, const Tensor& c_noise, const Conditioning& condition) override {
    const at::AutoGradMode mode(gradients_ && at::GradMode::is_enabled());
    return network_->forward(x, c_noise, condition);
  }

 private:
  std::shared_ptr<Network> network_;
  bool gradients_;
};

}  // namespace

class @Name@ final : public Backend {
 public:
  explicit @Name@(Params& p)
      : double_(p.choice("precision", "float32", {"float32", "float64"}, "of networks and states") == "float64") {}

  c10::Device device() const override { return at::kCPU; }
  c10::ScalarType dtype() const override { return double_ ? at::kDouble : at::kFloat; }
  void place(Network& network) const override { move_weights(network, device(), dtype(), false); }
  // For training: differentiable, and the weights are read at every call.
  std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const override {
    return std::make_shared<Plain>(std::move(network), true);
  }
  // Frozen: here is room for folding, fusing and packing. CompiledNetwork::refresh says that the weights have changed.
  std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const override {
    return std::make_shared<Plain>(std::move(network), false);
  }
  std::string describe() const override {
    return "@name@, " + std::to_string(at::get_num_threads()) + " thread(s), " + (double_ ? "float64" : "float32");
  }

 private:
  bool double_;
};

RETORT_PLUGIN(@Name@, backend, @name@)
