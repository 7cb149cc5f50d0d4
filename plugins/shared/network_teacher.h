/// What teachers that are networks with weights have in common: the keys of guidance, the checkpoint's process and
/// parametrisation, and predictions with and without the condition in one batch.
#pragma once

#include <retort/guidance.h>
#include <retort/host.h>
#include <retort/teacher.h>

#include <ATen/ATen.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace retort {

class NetworkTeacher : public Teacher {
 public:
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
    const Tensor predicted = (*network_)(at::cat({input, input}), at::cat({label, label}), both).to(x.scalar_type());
    return guided(predicted, condition[retort::inputs::guidance], guidance_);
  }

 protected:
  /// Reads the keys of guidance.
  explicit NetworkTeacher(Params& p) : guidance_(guidance_weight(p)), range_(guidance_range(p)) {}

  /// Takes over the model at `path`, which errors call `name`, and the key `key` names. Returns its configuration.
  Value load(Params& p, const char* key, const std::string& path, const std::string& name) {
    const Checkpoint checkpoint = p.host().checkpoint(path);
    const Value* model = checkpoint.config.find("model");
    if (model == nullptr || model->find("process") == nullptr || model->find("shape") == nullptr) {
      throw p.error(key, name + " holds no diffusion model");
    }
    Params process(*model->find("process"), "process", nullptr);
    process_ = Process(process);
    if (p.host().process_given() && !(p.host().process() == process_)) {
      throw p.error(key, name + " was trained on process '" + process_.name() + "', not on the configured '" +
                             p.host().process().name() + "'; leave [process] out");
    }
    Params form(*model, "model", nullptr);
    parametrisation_ = Parametrisation(form);
    parametrisation_.check(process_, form);
    spec_ = checkpoint.spec();
    if (spec_.inputs.empty() && (guidance_ != 1 || range_)) {
      throw p.error(range_ ? "guidance_range" : "guidance",
                    "needs a conditional teacher; " + name + " has no classes and no other condition");
    }
    network_ = p.host().backend().compile(p.host().network(checkpoint, path));
    return checkpoint.config;
  }

  /// What the network is built for, of what is given; labels that are not given mean "no class".
  virtual Conditioning network_inputs(const Conditioning& condition, const Tensor& x) const {
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
  ModelSpec spec_;

 private:
  Process process_;
  Parametrisation parametrisation_;
  std::shared_ptr<CompiledNetwork> network_;
};

}  // namespace retort
