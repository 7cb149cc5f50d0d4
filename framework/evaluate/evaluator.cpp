#include "evaluate/evaluator.h"

#include <ATen/ATen.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "sample/conditions.h"
#include "sample/draws.h"

namespace retort {

Tensor SharedTensors::get(const std::string& key, const std::function<Tensor()>& compute) {
  const auto found = tensors_.find(key);
  if (found != tensors_.end()) {
    return found->second;
  }
  if (!store_) {
    return tensors_[key] = compute();
  }
  const TensorFile file = store_->get(key, [&] {
    TensorFile out;
    out.tensors["x"] = compute().to(at::kCPU).contiguous();
    return out;
  });
  return tensors_[key] = file.tensors.at("x");
}

namespace {

constexpr int64_t trial_samples = 2;
constexpr int64_t trial_data = 8;  // real samples of a trial

EvaluateSettings settings_of(const Experiment& experiment, bool trial) {
  EvaluateSettings out = *experiment.evaluate;
  if (trial) {
    out.samples = std::min(out.samples, trial_samples);
    out.reference_samples = std::min(out.reference_samples, trial_data);
  }
  return out;
}

}  // namespace

class ModelEvaluator::Context final : public Evaluation {
 public:
  Context(Experiment& experiment, const Teacher* teacher, SharedTensors& shared, std::string key, double guidance,
          bool trial)
      : experiment_(experiment),
        settings_(settings_of(experiment, trial)),
        most_data_(trial ? trial_data : std::numeric_limits<int64_t>::max()),
        shared_(shared),
        key_(std::move(key)),
        ode_key_(experiment.ode_key()),
        guidance_(guidance) {
    if (experiment.spec().has(inputs::guidance)) {
      const std::string weight = "guidance " + Value{guidance, {}}.text() + "\n";
      key_ += weight;
      ode_key_ += weight;
    }
    if (teacher != nullptr) {
      ode_.emplace(*teacher);
    }
    if (experiment.schedule) {
      grid_ = experiment.schedule->times(experiment.process(), 1.0);
      start_ = starting_noise(experiment, grid_, settings_.samples, settings_.seed, guidance);
    }
  }

  void set(const Subject& subject) {
    subject_ = subject;
    samples_ = Tensor();
    sample_features_ = Tensor();
  }

  Tensor samples() const override {
    if (!grid_.defined() || (subject_.model == nullptr ? !ode_ : subject_.student_steps == 0)) {
      throw RequestError("asks for samples, and this loss trains what makes none");
    }
    if (!samples_.defined()) {
      if (subject_.model == nullptr) {
        samples_ = endpoints();
      } else {
        const Tensor times = subject_.times.defined()
                                 ? subject_.times
                                 : sampler_times(grid_, subject_.student_steps, settings_.student_times);
        samples_ = sample_student(*subject_.model, times, start_, settings_.batch, settings_.seed, settings_.gamma);
      }
    }
    return samples_;
  }

  Tensor reference() const override {
    return settings_.against_teacher && ode_ ? endpoints() : data(settings_.reference_samples).x;
  }

  Tensor sample_features() const override {
    if (!sample_features_.defined()) {
      sample_features_ = features(samples());
    }
    return sample_features_;
  }

  Tensor reference_features() const override {
    return shared("reference features", [&] { return features(reference()); });
  }

  Batch start() const override { return start_; }

  Tensor endpoints() const override {
    if (!ode_ || !experiment_.solver) {
      return {};
    }
    return shared("endpoints", [&] {
      const int64_t before = ode_->evaluations();
      Tensor out = sample_teacher(*ode_, *experiment_.solver, grid_, start_, settings_.batch, settings_.seed);
      shared("evaluations of the endpoints", [&] { return at::tensor({ode_->evaluations() - before}, at::kLong); });
      return out;
    });
  }

  int64_t endpoint_evaluations() const {
    const auto unknown = [] { return at::tensor({int64_t{0}}, at::kLong); };
    return endpoints().defined() ? shared("evaluations of the endpoints", unknown).item<int64_t>() : 0;
  }

  Batch data(int64_t n) const override {
    if (!experiment_.dataset) {
      throw RequestError(
          "evaluation needs data to compare with; add a [dataset], or set evaluate.reference = \"teacher\"");
    }
    const int64_t count = std::min({n, most_data_, experiment_.dataset->size(Split::test)});
    const Tensor rows = drawn_rows(*experiment_.dataset, count, settings_.seed);
    return for_model(experiment_, experiment_.dataset->batch(Split::test, rows), guidance_);
  }

  const Dataset* dataset() const override { return experiment_.dataset.get(); }
  const Model* model() const override { return subject_.model; }
  CompiledNetwork* network() const override {
    if (subject_.model != nullptr && experiment_.loss->makes() != Makes::classifier) {
      throw RequestError("is of classifiers, and this loss trains what makes samples");
    }
    return subject_.model == nullptr ? nullptr : &subject_.model->network();
  }
  int64_t student_steps() const override { return subject_.student_steps; }
  const Ode* ode() const override { return ode_ ? &*ode_ : nullptr; }
  const Solver* solver() const override { return experiment_.solver.get(); }
  Tensor grid() const override { return grid_; }
  at::Generator generator(const char* stream) const override {
    return seeded(static_cast<uint64_t>(settings_.seed), stream);
  }
  Tensor shared(const std::string& key, const std::function<Tensor()>& compute) const override {
    return shared_.get(key_ + key, compute).to(experiment_.backend().device());
  }
  Tensor shared_by_solvers(const std::string& key, const std::function<Tensor()>& compute) const override {
    const Tensor ends = at::stack({grid_[0], grid_[-1]});
    const std::string span =
        Value{ends[0].item<double>(), {}}.text() + " to " + Value{ends[1].item<double>(), {}}.text();
    return shared_.get(ode_key_ + span + "\n" + key, compute).to(experiment_.backend().device());
  }

  Tensor features(const Tensor& x) const override {
    if (settings_.features.empty()) {
      return x.flatten(1);
    }
    const at::NoGradGuard no_grad;
    std::vector<Tensor> parts;
    for (const Tensor& part : x.split(settings_.batch)) {
      parts.push_back(experiment_.feature_network->features(part));
    }
    Tensor out = at::cat(parts);
    require_finite(out, "features by " + settings_.features);
    return out;
  }

 private:
  Experiment& experiment_;
  EvaluateSettings settings_;
  int64_t most_data_;
  SharedTensors& shared_;
  std::string key_, ode_key_;
  double guidance_;
  std::optional<Ode> ode_;
  Tensor grid_;
  Batch start_;
  Subject subject_;
  mutable Tensor samples_;
  mutable Tensor sample_features_;
};

ModelEvaluator::ModelEvaluator(Experiment& experiment, const Teacher* teacher, SharedTensors& shared,
                               std::string shared_key, double guidance, bool trial)
    : context_(std::make_unique<Context>(experiment, teacher, shared, std::move(shared_key), guidance, trial)),
      experiment_(experiment),
      trial_(trial) {}

ModelEvaluator::~ModelEvaluator() = default;

EvaluationResult ModelEvaluator::measure(const Subject& subject) {
  context_->set(subject);
  EvaluationResult out;
  for (const auto& [name, metric] : experiment_.metrics) {
    Measurement part;
    try {
      part = metric->measure(*context_);
    } catch (const RequestError& e) {
      throw RequestError("evaluate.metrics: '" + name + "': " + e.what());
    }
    for (const auto& [key, value] : part.values) {
      if (!trial_ && !std::isfinite(value)) {  // of two samples not everything can be told
        throw Error("metric '" + name + "': " + key + " is not a finite number (" + Value{value, {}}.text() + ")");
      }
    }
    for (const auto& [key, points] : part.series) {
      for (const auto& [x, y] : points) {
        if (!trial_ && !std::isfinite(y)) {
          throw Error("metric '" + name + "': " + key + " is not a finite number at " + Value{x, {}}.text());
        }
      }
    }
    out.measurement.values.insert(out.measurement.values.end(), part.values.begin(), part.values.end());
    out.measurement.series.merge(part.series);
  }
  if (context_->grid().defined() && (subject.student_steps > 0 || subject.model == nullptr)) {
    out.samples = context_->samples();
  }
  return out;
}

int64_t ModelEvaluator::endpoint_evaluations() const { return context_->endpoint_evaluations(); }

Json to_json(const Measurement& measurement) {
  Json values = Json::object();
  for (const auto& [name, value] : measurement.values) {
    values[name] = value;
  }
  return values;
}

}  // namespace retort
