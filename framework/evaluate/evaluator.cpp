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
    states_ = Tensor();
    samples_ = Tensor();
    sample_features_ = Tensor();
  }

  Tensor samples() const override {
    if (!decodes()) {
      return states();
    }
    if (!samples_.defined()) {
      samples_ = subject_.model != nullptr ? experiment_.pictures(states()) : pictures_of_endpoints();
    }
    return samples_;
  }

  // What samples are decoded from.
  Tensor states() const {
    if (!grid_.defined() || (subject_.model == nullptr ? !ode_ : subject_.student_steps == 0)) {
      throw RequestError("asks for samples, and this loss trains what makes none");
    }
    if (!states_.defined()) {
      if (subject_.model == nullptr) {
        states_ = endpoints();
      } else {
        const Tensor times = subject_.times.defined()
                                 ? subject_.times
                                 : sampler_times(grid_, subject_.student_steps, settings_.student_times);
        states_ = sample_student(*subject_.model, times, start_, settings_.batch, settings_.seed, settings_.gamma);
      }
    }
    return states_;
  }

  Tensor reference() const override {
    if (compares_with_teacher()) {
      return decodes() ? pictures_of_endpoints() : endpoints();
    }
    if (encodes()) {
      return pictures_at(data_rows(settings_.reference_samples));
    }
    return experiment_.pictures(data(settings_.reference_samples).x);
  }

  Tensor sample_features() const override {
    if (!sample_features_.defined()) {
      sample_features_ = features(states());
    }
    return sample_features_;
  }

  Tensor reference_features() const override {
    return shared("reference features", [&] {
      if (compares_with_teacher()) {
        return features(endpoints());
      }
      if (!encodes()) {
        return features(data(settings_.reference_samples).x);
      }
      std::vector<Tensor> parts;  // as in `features`
      for (const Tensor& rows : data_rows(settings_.reference_samples).split(settings_.batch)) {
        parts.push_back(features_of_pictures(pictures_at(rows)));
      }
      return at::cat(parts);
    });
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
    return for_model(experiment_, experiment_.dataset->batch(Split::test, data_rows(n)), guidance_);
  }

  // Where pictures have the states' shape, `features` takes what it is given for states.
  const Dataset* dataset() const override { return encodes() ? experiment_.picture_data() : experiment_.dataset.get(); }
  const Model* model() const override { return subject_.model; }
  CompiledNetwork* network() const override {
    if (subject_.model != nullptr && makes_samples(experiment_.loss->makes())) {
      throw RequestError(
          "is of models that make no samples, such as classifiers, and this loss trains what makes some");
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
  Tensor sample_states() const override { return states(); }
  Tensor shared_by_solvers(const std::string& key, const std::function<Tensor()>& compute) const override {
    const Tensor ends = at::stack({grid_[0], grid_[-1]});
    const std::string span =
        Value{ends[0].item<double>(), {}}.text() + " to " + Value{ends[1].item<double>(), {}}.text();
    return shared_.get(ode_key_ + span + "\n" + key, compute).to(experiment_.backend().device());
  }

  Tensor features(const Tensor& x) const override {
    if (!decodes() || x.sizes().slice(1) != at::IntArrayRef(experiment_.spec().shape)) {
      return features_of_pictures(x);
    }
    // Pictures are many times as large as their latents, so that there are never more than a batch of them.
    std::vector<Tensor> parts;
    for (const Tensor& part : x.split(settings_.batch)) {
      parts.push_back(features_of_pictures(experiment_.pictures(part)));
    }
    return at::cat(parts);
  }

 private:
  bool decodes() const { return experiment_.autoencoder != nullptr; }
  // Whether states are made of pictures that are there too.
  bool encodes() const { return experiment_.latents && experiment_.latents->has_both(); }
  bool compares_with_teacher() const { return settings_.against_teacher && ode_; }

  // The test split's, at most n.
  Tensor data_rows(int64_t n) const {
    const int64_t count = std::min({n, most_data_, experiment_.dataset->size(Split::test)});
    return drawn_rows(*experiment_.dataset, count, settings_.seed);
  }

  // Pictures of the test split that are there, before any are encoded.
  Tensor pictures_at(const Tensor& rows) const {
    const Backend& backend = experiment_.backend();
    return experiment_.picture_data()->batch(Split::test, rows).x.to(backend.device(), backend.dtype());
  }

  // Never kept: pictures are many times as large as what they are decoded from.
  Tensor pictures_of_endpoints() const { return experiment_.pictures(endpoints()); }

  Tensor features_of_pictures(const Tensor& x) const {
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
  mutable Tensor states_;   // of the samples
  mutable Tensor samples_;  // decoded of them, where they are
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
    out.samples = context_->states();
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
