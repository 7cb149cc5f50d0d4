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
#include <retort/host.h>
#include <retort/plugin.h>
#include <retort/teacher.h>

#include <map>
#include <optional>
#include <utility>

#include "../shared/guidance.h"
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

constexpr double least_level = 1e-4, most_level = 1e4;  // finite at sigma = 0 and alpha = 0, as EDM's label is

}  // namespace

class TorchScriptTeacher final : public Teacher {
 public:
  explicit TorchScriptTeacher(Params& p)
      : keys_(p),
        form_(p),
        input_(p.choice("input", "auto", {"auto", "x", "y", "c_in"},
                        "what the module takes for a sample: x; y = x / alpha; c_in: EDM's factor of y; auto: as "
                        "preconditioning says")),
        time_(p.choice("time", "auto", times(),
                       "what the module takes for a time. With sigma the noise level of y = x / alpha, auto: as "
                       "preconditioning says; step: 0 to T - 1, of a process that is a table; t: the process's own; "
                       "fraction: t / t_max; reversed: 1 - t / t_max; c_noise: log(sigma) / 4; log_snr: -2 "
                       "log(sigma)")),
        guidance_(guidance_weight(p)),
        shape_(p.get("shape", std::vector<int64_t>{}, "of one sample, such as [3, 32, 32]; empty: the data set's",
                     at_least(1))) {
    range_ = guidance_range(p);
    const int64_t classes = p.get("classes", 0, "of its labels; 0: the data set's", at_least(0));
    const std::string precision = p.choice("precision", "file", {"file", "float32", "float64", "bfloat16", "float16"},
                                           "type of its weights; file: as they are there");
    if (p.is_describing()) {
      return;
    }
    if (!p.given("parametrisation")) {
      throw p.error("parametrisation", "missing; expected what the module predicts: noise, v, data, edm or flow");
    }
    process_ = p.host().process();
    if (time_ == "step") {
      form_.preconditioning.sees = Sees::discrete;
    }
    check_process(p);
    const ModelSpec spec = p.host().spec();
    shape_ = shape_.empty() ? spec.shape : shape_;
    if (shape_.empty()) {
      throw p.error("shape",
                    "missing, and there is no data set; expected the shape of one sample, such as [3, 32, 32]");
    }
    ScriptModule script(keys_, p, conditions(spec, classes), ScriptModule::Use::teacher);
    for (const Input& input : conditions(spec, classes)) {
      if (script.takes(input.name) && input.name != inputs::guidance) {
        inputs_.push_back(input);
      }
    }
    takes_guidance_ = script.takes(inputs::guidance);
    if (inputs_.empty() && !takes_guidance_ && (guidance_ != 1 || range_)) {
      throw p.error(range_ ? "guidance_range" : "guidance",
                    "needs a conditional module; forward of " + keys_.file + " is given x and time alone");
    }
    build(p, std::move(script), precision);
    try_out(p);
  }

  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return form_; }
  std::vector<int64_t> shape() const override { return shape_; }
  std::vector<Input> inputs() const override { return inputs_; }
  int64_t cost() const override { return asks_twice() ? 2 : 1; }
  std::optional<std::pair<double, double>> guidance() const override { return range_; }

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    const Tensor scale = factor(t);
    const Tensor input = scale.defined() ? rows(scale, x) * x : x;
    const Conditioning given = whole(condition, x);
    if (!asks_twice()) {
      return ask(input, t, guidance_ == 0 && !range_ && !takes_guidance_ ? unconditional(given) : given);
    }
    const Tensor both = ask(at::cat({input, input}), at::cat({t, t}), Conditioning::cat(given, unconditional(given)));
    return guided(both, condition[retort::inputs::guidance], guidance_);
  }

 private:
  // The module's answer to a sample as it takes it.
  Tensor ask(const Tensor& input, const Tensor& t, const Conditioning& given) const {
    const Tensor time = time_of(t).to(input.device(), double_ ? at::kDouble : at::kFloat);
    return (*network_)(input, time, given).to(input.scalar_type());
  }

  static std::vector<std::string> times() {
    return {"auto", "step", "t", "fraction", "reversed", "sigma", "log_sigma", "c_noise", "log_snr"};
  }

  void check_process(const Params& p) const {
    if (time_ == "step" && process_.steps() == 0) {
      throw p.error("time", "\"step\" counts the steps of a table, which process '" + process_.name() +
                                "' has none of; expected a [process] such as 'betas', or another time");
    }
    form_.check(process_, p);
    if (time_ == "reversed" && process_.is_variance_exploding()) {
      throw p.error("time",
                    "\"reversed\" is 1 - t / t_max, and process 've' has no end; expected a [process] that has");
    }
  }

  // What the module can be given besides x and time.
  static std::vector<Input> conditions(const ModelSpec& spec, int64_t classes) {
    std::vector<Input> out = label_inputs(classes);
    for (const Input& input : spec.inputs) {
      if (input.name != inputs::guidance && (classes == 0 || input.name != inputs::labels)) {
        out.push_back(input);
      }
    }
    out.push_back(guidance_input());
    return out;
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
    std::vector<int64_t> shape = shape_;
    shape.insert(shape.begin(), 2);
    const Tensor t = at::tensor({0.3, 0.6}, at::kDouble) * process_.t_max();
    const Tensor z = at::randn(shape, seeded(0, "trial of a module"), at::TensorOptions().dtype(backend.dtype()))
                         .to(backend.device());
    const Tensor x = rows((process_.alpha(t).square() + process_.sigma(t).square()).sqrt(), z) * z;
    const Conditioning condition = example(backend.device());
    const Tensor both = tried(p, x, t, condition);
    const auto refuse = [&](const std::string& what) { return p.error("file", keys_.file + ": " + what); };
    if (!both.isfinite().all().item<bool>()) {
      throw refuse("gives numbers that are not finite, for noise in the middle of process '" + process_.name() + "'");
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
    if (at::equal(ask(x, t, whole(condition, x)), ask(x, t.flip(0), whole(condition, x)))) {
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
                                script_parts::spell(shape_) + ": " + script_parts::line_of(e));
    }
  }

  // Conditions of two rows, for the trial.
  Conditioning example(c10::Device device) const {
    Conditioning out;
    for (const Input& input : inputs_) {
      std::vector<int64_t> shape = input.shape;
      shape.insert(shape.begin(), 2);
      const Tensor rows = input.classes > 0 ? at::arange(2, at::kLong).remainder(input.classes)
                                            : at::ones(shape, at::TensorOptions().dtype(input.dtype));
      out.set(input.name, rows.to(device));
    }
    if (range_) {
      out.set(retort::inputs::guidance, at::full({2}, range_->first, at::kDouble));
    }
    return out;
  }

  bool asks_twice() const { return !takes_guidance_ && (range_ || (guidance_ != 1 && guidance_ != 0)); }

  // What the module is given of the conditions; labels that are not given mean "no class".
  Conditioning whole(const Conditioning& condition, const Tensor& x) const {
    Conditioning out;
    for (const Input& input : inputs_) {
      if (condition.has(input.name)) {
        out.set(input.name, condition[input.name].to(x.device()));
      } else if (input.classes > 0) {
        out.set(input.name, at::full({x.size(0)}, input.classes, x.options().dtype(at::kLong)));
      }
    }
    if (takes_guidance_) {
      const Tensor w = condition[retort::inputs::guidance];
      out.set(retort::inputs::guidance,
              w.defined() ? w.to(x.device()) : at::full({x.size(0)}, guidance_, x.options().dtype(at::kDouble)));
    }
    return out;
  }

  // The factor of x, [B]; undefined for x itself.
  Tensor factor(const Tensor& t) const {
    if (input_ == "y") {
      return at::minimum(1 / process_.alpha(t), most_level / process_.sigma(t));
    }
    if (input_ == "c_in") {
      return Preconditioning{Sees::edm, form_.sigma_data}.c_in(process_, t);
    }
    return input_ == "x" ? Tensor() : form_.c_in(process_, t);
  }

  // What the module is told of the time, [B].
  Tensor time_of(const Tensor& t) const {
    if (time_ == "auto" || time_ == "step") {
      return form_.c_noise(process_, t);
    }
    if (time_ == "t") {
      return t;
    }
    if (time_ == "fraction") {
      return t / process_.t_max();
    }
    if (time_ == "reversed") {
      return 1 - t / process_.t_max();
    }
    const Tensor sigma = process_.noise_level(t).clamp(least_level, most_level);
    const Tensor log_sigma = sigma.log();
    return time_ == "sigma"       ? sigma
           : time_ == "log_sigma" ? log_sigma
           : time_ == "c_noise"   ? log_sigma / 4
                                  : log_sigma * -2;
  }

  ScriptKeys keys_;
  Parametrisation form_;
  std::string input_, time_;
  double guidance_;
  std::optional<std::pair<double, double>> range_;
  std::vector<int64_t> shape_;
  std::vector<Input> inputs_;
  Process process_;
  bool takes_guidance_ = false, double_ = false, half_ = false;
  std::shared_ptr<CompiledNetwork> network_, compiled_;
};

RETORT_PLUGIN(TorchScriptTeacher, teacher, torchscript)
