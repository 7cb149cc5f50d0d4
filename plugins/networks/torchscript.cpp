/// A network from a TorchScript file, as `torch.jit.script(module).save("net.pt")` or `torch.jit.trace` writes it.
///
/// Its method forward(x, noise) takes samples [B, …] and noise labels [B], both float32, and returns x's shape; for
/// class-conditional tasks forward(x, noise, labels) takes int64 labels [B] too. Weights begin as they are in the file,
/// train like any other, and are saved with the run; the file itself stays needed for the architecture. Source:
/// https://docs.pytorch.org/docs/stable/jit.html.
///
///     [network]
///     type = "torchscript"
///     file = "net.pt"
#include <retort/host.h>
#include <retort/plugin.h>

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/nn/module.h>

#include <filesystem>

using namespace retort;
namespace nn = torch::nn;

namespace {

// The script's weights under their own names: modules within modules, as the dots in the names say.
struct Weights : nn::Module {
  Weights* within(const std::string& name) {
    if (const auto found = children_.find(name); found != children_.end()) {
      return found->second.get();
    }
    return children_.emplace(name, register_module(name, std::make_shared<Weights>())).first->second.get();
  }
  // Returns the module to which a dotted name belongs, and the name within it.
  std::pair<Weights*, std::string> place_of(const std::string& dotted) {
    Weights* at = this;
    size_t begin = 0;
    for (size_t dot = dotted.find('.'); dot != std::string::npos; dot = dotted.find('.', begin)) {
      at = at->within(dotted.substr(begin, dot - begin));
      begin = dot + 1;
    }
    return {at, dotted.substr(begin)};
  }
  void add_parameter(const std::string& name, const Tensor& value) {
    const auto [module, own_name] = place_of(name);
    module->register_parameter(own_name, value, /*requires_grad=*/value.is_floating_point());
  }
  void add_buffer(const std::string& name, const Tensor& value) {
    const auto [module, own_name] = place_of(name);
    module->register_buffer(own_name, value);
  }

 private:
  std::map<std::string, std::shared_ptr<Weights>> children_;
};

}  // namespace

class TorchScript final : public Network {
 public:
  explicit TorchScript(Params& p) {
    const std::string file = p.path("file", "", "the TorchScript file");
    if (p.is_describing()) {
      return;
    }
    if (!std::filesystem::is_regular_file(file)) {
      throw p.error("file", (file.empty() ? "missing" : file + ": no such file") + "; expected a TorchScript file");
    }
    try {
      script_ = torch::jit::load(file);
    } catch (const std::exception& e) {
      const std::string what = e.what();
      throw p.error("file", file + " cannot be read as TorchScript: " + what.substr(0, what.find('\n')));
    }
    const size_t wanted = p.host().spec().classes() > 0 ? 3 : 2;
    const auto method = script_.find_method("forward");
    const size_t has = method ? method->function().getSchema().arguments().size() - 1 : 0;
    if (has != wanted) {
      throw p.error(
          "file", file +
                      (method ? ": forward takes " + std::to_string(has) + " argument(s)" : ": has no method forward") +
                      "; expected " + (wanted == 3 ? "(x, noise, labels)" : "(x, noise)"));
    }
    weights_ = std::make_shared<Weights>();
    for (const auto& parameter : script_.named_parameters()) {
      weights_->add_parameter(parameter.name, parameter.value);
    }
    for (const auto& buffer : script_.named_buffers()) {
      weights_->add_buffer(buffer.name, buffer.value);
    }
  }

  Tensor forward(const Tensor& x, const Tensor& noise, const Conditioning& condition) override {
    const torch::jit::GraphOptimizerEnabledGuard as_written(false);
    script_.train(weights_->is_training());
    std::vector<c10::IValue> inputs = {x, noise};
    if (const Tensor labels = condition[retort::inputs::labels]; labels.defined()) {
      inputs.emplace_back(labels);
    }
    return script_.forward(inputs).toTensor();
  }
  std::shared_ptr<nn::Module> module() override { return weights_; }

 private:
  torch::jit::Module script_;
  std::shared_ptr<Weights> weights_;
};

RETORT_PLUGIN(TorchScript, network, torchscript)
