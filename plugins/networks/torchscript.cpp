/// A network from a TorchScript file, as `torch.jit.script(module).save("net.pt")` or `torch.jit.trace` writes it.
///
/// Its method forward(x, time) takes samples [B, …] and noise labels [B], both float32, and returns x's shape; for
/// class-conditional tasks forward(x, time, labels) takes int64 labels [B] too. `inputs` says other arguments, and
/// `output` what counts of a tuple or dictionary. Weights begin as they are in the file, train like any other, and are
/// saved with the run; the file itself stays needed for the architecture. So a student begins at a teacher
/// `torchscript` where both name one file: with student.parametrisation and preconditioning as the teacher's. A module
/// that is a whole denoiser D(y, sigma) says time = "sigma" and input = "y", and its student preconditioning = "edm".
/// Source: https://docs.pytorch.org/docs/stable/jit.html.
///
///     [network]
///     type = "torchscript"
///     file = "net.pt"
#include <retort/host.h>
#include <retort/plugin.h>

#include <optional>

#include "../shared/script_module.h"

using namespace retort;

class TorchScript final : public Network {
 public:
  explicit TorchScript(Params& p)
      : keys_(p),
        time_(p.choice("time", "given", {"given", "sigma", "log_sigma"},
                       "what the module takes for a time: the noise label as student.preconditioning makes it; or what "
                       "EDM's label log(sigma) / 4 stands for")),
        input_(p.choice("input", "given", {"given", "y"},
                        "what the module takes for a sample: as student.preconditioning scales it; or y = x / alpha, "
                        "where that is EDM's")),
        sigma_data_(p.get("sigma_data", 0.5, "input = \"y\": the student's sigma_data", more_than(0))) {
    if (!p.is_describing()) {
      script_.emplace(keys_, p, p.host().spec().inputs, ScriptModule::Use::network);
    }
  }

  Tensor forward(const Tensor& x, const Tensor& noise, const Conditioning& condition) override {
    try {
      return (*script_)(input(x, noise), time(noise), condition);
    } catch (const ScriptFault& e) {
      throw RequestError("network." + e.key + ": " + e.what());
    }
  }
  std::vector<std::string> inputs() const override {
    std::vector<std::string> out = script_->arguments();
    std::erase_if(out, [](const std::string& name) { return name == ScriptKeys::x || name == ScriptKeys::time; });
    return out;
  }
  std::shared_ptr<torch::nn::Module> module() override { return script_->weights(); }

 private:
  Tensor time(const Tensor& noise) const {
    return time_ == "given" ? noise : time_ == "sigma" ? (noise * 4).exp() : noise * 4;
  }
  // y of x / sqrt(sigma^2 + alpha^2 sd^2) = y / sqrt(s^2 + sd^2), s = sigma / alpha
  Tensor input(const Tensor& x, const Tensor& noise) const {
    return input_ == "given" ? x : rows(((noise * 8).exp() + sigma_data_ * sigma_data_).sqrt(), x) * x;
  }

  ScriptKeys keys_;
  std::string time_, input_;
  double sigma_data_;
  std::optional<ScriptModule> script_;
};

RETORT_PLUGIN(TorchScript, network, torchscript)
