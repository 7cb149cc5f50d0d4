/// A diffusion model of any library, as a TorchScript file: traced, or scripted, by `torch.jit`.
///
/// The keys say how the module is meant. `parametrisation` is what it predicts; `input` what it takes for a sample: x
/// itself, y = x / alpha (a whole denoiser D(y, sigma) of EDM or k-diffusion, which predicts data), or EDM's c_in y;
/// `time` what it takes for a time. The process is that of [process]. It runs on the backend's device, whichever it was
/// traced on. Two rows are tried at once, so that what does not fit is said before any work. With guidance w other than
/// 1 the module is asked with and without its conditions, in one batch, and the answers are joined as u + w (c - u);
/// labels then have one value more, for "no class", and other conditions are zeros. A module that has w among its
/// `inputs` is given it, and asked once. sdk/python has programs that export models of diffusers, EDM and k-diffusion.
/// A student begins at it by the network `torchscript` with the same file. Source:
/// https://docs.pytorch.org/docs/stable/jit.html; Ho & Salimans 2022 (arXiv 2207.12598), for guidance in the form of
/// Saharia et al. 2022 (arXiv 2205.11487).
///
///     [teacher]
///     type = "torchscript"
///     file = "teacher.pt"
///     parametrisation = "noise"      # or "v", "data", "edm", "flow"
///     time = "step"                  # 0 to T - 1; or "sigma", "log_sigma", "fraction", …
#include <retort/module_teacher.h>
#include <retort/plugin.h>

#include <map>
#include <optional>
#include <utility>

#include "../shared/script_module.h"

using namespace retort;

namespace {

// The module as a network, for the backend to compile. Times are as the module takes them.
class ScriptNetwork final : public Network {
 public:
  ScriptNetwork(ScriptModule script, at::ScalarType type) : script_(std::move(script)), type_(type) {}

  Tensor forward(const Tensor& x, const Tensor& time, const Conditioning& condition) override {
    return script_(x.to(type_), time, condition);
  }
  std::shared_ptr<torch::nn::Module> module() override { return script_.weights(); }

 private:
  ScriptModule script_;
  at::ScalarType type_;  // of its weights
};

// A network as it is, without gradients.
class Plain final : public CompiledNetwork {
 public:
  explicit Plain(std::shared_ptr<Network> network) : network_(std::move(network)) {}
  Tensor operator()(const Tensor& x, const Tensor& time, const Conditioning& condition) override {
    const at::NoGradGuard no_grad;
    return network_->forward(x, time, condition);
  }

 private:
  std::shared_ptr<Network> network_;
};

// The keys of the file come first.
struct OfFile {
  explicit OfFile(Params& p) : keys_(p) {}
  ScriptKeys keys_;
};

}  // namespace

class TorchScriptTeacher final : private OfFile, public ModuleTeacher {
 public:
  explicit TorchScriptTeacher(Params& p) : OfFile(p), ModuleTeacher(p) {
    const std::string precision = p.choice("precision", "file", {"file", "float32", "float64", "bfloat16", "float16"},
                                           "type of its weights; file: as they are there");
    if (p.is_describing()) {
      return;
    }
    const std::vector<Input> known = known_inputs(p);
    ScriptModule script(keys_, p, known, ScriptModule::Use::teacher);
    std::vector<Input> taken;
    std::copy_if(known.begin(), known.end(), std::back_inserter(taken),
                 [&](const Input& input) { return script.takes(input.name); });
    takes(std::move(taken), "forward of " + keys_.file, p);
    build(p, std::move(script), precision);
    try_out(p);
  }

 private:
  Tensor ask(const Tensor& x, const Tensor& t, const Conditioning& given) const override {
    const Tensor time = t.to(x.device(), double_ ? at::kDouble : at::kFloat);
    return (*network_)(x, time, given).to(x.scalar_type());
  }

  // On the backend's device, and compiled by it where its weights are of the type that backends compute in.
  void build(const Params& p, ScriptModule script, const std::string& precision) {
    const std::map<std::string, at::ScalarType> types = {
        {"float32", at::kFloat}, {"float64", at::kDouble}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}};
    const auto chosen = types.find(precision);
    const bool as_in_file = chosen == types.end();
    const at::ScalarType type = as_in_file ? script.dtype(p.host().backend().dtype()) : chosen->second;
    if (!as_in_file) {
      script.weights()->to(type);
    }
    script.weights()->eval();
    double_ = type == at::kDouble;
    half_ = at::isReducedFloatingType(type);
    const auto made = std::make_shared<ScriptNetwork>(std::move(script), type);
    network_ = std::make_shared<Plain>(made);
    if (type == at::kFloat && p.host().backend().dtype() == at::kFloat) {
      compiled_ = p.host().backend().compile(made);
    }
  }

  // Two rows together, each alone, and at other times.
  void try_out(const Params& p) {
    const Backend& backend = p.host().backend();
    std::vector<int64_t> shape = this->shape();
    shape.insert(shape.begin(), 2);
    const Tensor t = at::tensor({0.3, 0.6}, at::kDouble) * process().t_max();
    const Tensor z = at::randn(shape, seeded(0, "trial of a module"), at::TensorOptions().dtype(backend.dtype()))
                         .to(backend.device());
    const Tensor x = rows((process().alpha(t).square() + process().sigma(t).square()).sqrt(), z) * z;
    const Conditioning condition = example(backend.device());
    const Tensor both = tried(p, x, t, condition);
    const auto refuse = [&](const std::string& what) { return p.error("file", keys_.file + ": " + what); };
    if (!both.isfinite().all().item<bool>()) {
      throw refuse("gives numbers that are not finite, for noise in the middle of process '" + process().name() + "'");
    }
    const double scale = 1 + both.abs().max().item<double>();
    const auto differ = [&](const Tensor& one, const Tensor& other, double tolerance) {
      return (one - other).abs().max().item<double>() > tolerance * scale;
    };
    const double tolerance = half_ ? 3e-2 : 1e-4;
    for (int64_t i = 0; i < 2; ++i) {
      const Conditioning own = condition.select(at::tensor({i}, at::kLong));
      if (!differ(tried(p, x.narrow(0, i, 1), t.narrow(0, i, 1), own), both.narrow(0, i, 1), tolerance)) {
        continue;
      }
      throw refuse(differ(tried(p, x, t, condition), both, tolerance)
                       ? "answers twice to the same rows, and differently; expected a module that was exported in eval "
                         "mode, without dropout or noise"
                       : "answers to a row otherwise when another one is beside it; expected a module that treats "
                         "every row alone, and was exported for any number of them");
    }
    if (at::equal(ask_at(x, t, whole(condition, x)), ask_at(x, t.flip(0), whole(condition, x)))) {
      throw refuse("answers to every time alike; expected a module that was exported with its time as a tensor");
    }
    if (compiled_) {
      const double precision = std::max(tolerance, 3 * backend.tolerance());
      try_compiled(x, t, condition, [&](const Tensor& other) { return !differ(other, both, precision); });
    }
  }

  // The backend's form of it serves where it runs, and agrees.
  template <class F>
  void try_compiled(const Tensor& x, const Tensor& t, const Conditioning& condition, F agrees) {
    const std::shared_ptr<CompiledNetwork> plain = std::exchange(network_, compiled_);
    try {
      if (agrees(predict(x, t, condition))) {
        return;
      }
    } catch (const std::exception&) {  // what a backend cannot lower runs as it is
    }
    network_ = plain;
  }

  Tensor tried(const Params& p, const Tensor& x, const Tensor& t, const Conditioning& condition) const {
    try {
      return predict(x, t, condition);
    } catch (const ScriptFault& e) {
      throw p.error(e.key, e.what());
    } catch (const std::exception& e) {
      throw p.error("file", keys_.file + ": fails on " + std::to_string(x.size(0)) + " row(s) of " +
                                script_parts::spell(shape()) + ": " + script_parts::line_of(e));
    }
  }

  bool double_ = false, half_ = false;
  std::shared_ptr<CompiledNetwork> network_, compiled_;
};

RETORT_PLUGIN(TorchScriptTeacher, teacher, torchscript)
