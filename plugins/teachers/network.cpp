/// A trained diffusion model, read from a checkpoint of `retort train`.
///
/// The checkpoint says what the network is, what it predicts (noise, v, data, EDM's F or flow) and on which process, so
/// nothing of that is repeated here. With guidance w other than 1, conditional and unconditional predictions are made
/// in one batch and joined as u + w (c - u), the form of Imagen; the other form in use, c + omega (c - u) of Ho &
/// Salimans and of latent consistency models, is the same with w = 1 + omega. With guidance_range each training row has
/// a weight of its own, uniform in that range, and the student is told it. Source: Ho & Salimans 2022 (arXiv
/// 2207.12598); Meng et al. 2023 (arXiv 2210.03142) for the range.
///
///     [teacher]
///     type = "network"
///     checkpoint = "weights/fashion_mnist_teacher.safetensors"
///     guidance = 1.0
#include <retort/host.h>
#include <retort/plugin.h>
#include <retort/teacher.h>

#include <ATen/ATen.h>

using namespace retort;

class NetworkTeacher final : public Teacher {
 public:
  explicit NetworkTeacher(Params& p)
      : guidance_(p.get("guidance", 1.0, "w of classifier-free guidance; 1: none, 0: unconditional", at_least(0))) {
    const std::vector<double> range = p.get("guidance_range", std::vector<double>{},
                                            "least and greatest w, in place of one fixed; empty: fixed", at_least(0));
    if (!range.empty()) {
      if (range.size() != 2 || range[0] >= range[1]) {
        throw p.error("guidance_range", "is no range; expected two rising numbers, such as [1, 8]");
      }
      range_ = {range[0], range[1]};
    }
    const std::string path = p.path("checkpoint", "", "safetensors file of a trained teacher");
    if (p.is_describing()) {
      return;
    }
    if (path.empty()) {
      throw p.error("checkpoint", "missing; expected the safetensors file of a trained teacher");
    }
    const Checkpoint checkpoint = p.host().checkpoint(path);
    const Value* model = checkpoint.config.find("model");
    if (model == nullptr || model->find("process") == nullptr || model->find("shape") == nullptr) {
      throw p.error("checkpoint", path + " holds no diffusion model");
    }
    Params process(*model->find("process"), "process", nullptr);
    process_ = Process(process);
    if (p.host().process_given() && !(p.host().process() == process_)) {
      throw p.error("checkpoint", path + " was trained on process '" + process_.name() + "', not on the configured '" +
                                      p.host().process().name() + "'; leave [process] out");
    }
    Params form(*model, "model", nullptr);
    parametrisation_ = Parametrisation(form);
    parametrisation_.check(process_, form);
    spec_ = checkpoint.spec();
    if (spec_.inputs.empty() && (guidance_ != 1 || range_)) {
      throw p.error(range_ ? "guidance_range" : "guidance",
                    "needs a conditional teacher; " + path + " has no classes and no other condition");
    }
    network_ = p.host().backend().compile(p.host().network(checkpoint, path));
  }

  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return parametrisation_; }
  std::vector<int64_t> shape() const override { return spec_.shape; }
  std::vector<Input> inputs() const override { return spec_.inputs; }
  int64_t cost() const override { return !range_ && (guidance_ == 1 || guidance_ == 0) ? 1 : 2; }
  std::optional<std::pair<double, double>> guidance() const override { return range_; }

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override {
    const Tensor input = rows(parametrisation_.c_in(process_, t), x) * x;
    const Tensor label = parametrisation_.c_noise(process_, t).to(x.options().dtype(at::kFloat));
    if (cost() == 1) {
      const Conditioning given = guidance_ == 0 ? unconditional(condition) : condition;
      return (*network_)(input, label, network_inputs(given, x)).to(x.scalar_type());
    }
    const Conditioning both =
        Conditioning::cat(network_inputs(condition, x), network_inputs(unconditional(condition), x));
    const auto halves =
        (*network_)(at::cat({input, input}), at::cat({label, label}), both).to(x.scalar_type()).chunk(2);
    const Tensor difference = halves[0] - halves[1];
    const Tensor w = condition[retort::inputs::guidance];
    return halves[1] + (w.defined() ? rows(w, x) * difference : guidance_ * difference);
  }

 private:
  // What the network is built for, of what is given; labels that are not given mean "no class".
  Conditioning network_inputs(const Conditioning& condition, const Tensor& x) const {
    Conditioning out;
    for (const Input& input : spec_.inputs) {
      if (condition.has(input.name)) {
        out.set(input.name, condition[input.name].to(x.device()));
      } else if (input.classes > 0) {
        out.set(input.name, at::full({x.size(0)}, input.classes, x.options().dtype(at::kLong)));
      }
    }
    return out;
  }

  double guidance_;
  std::optional<std::pair<double, double>> range_;
  Process process_;
  Parametrisation parametrisation_;
  ModelSpec spec_;
  std::shared_ptr<CompiledNetwork> network_;
};

RETORT_PLUGIN(NetworkTeacher, teacher, network)
