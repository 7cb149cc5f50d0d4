/// Measures models: gathers what metrics ask for, once, and calls them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "config/experiment.h"
#include "io/json.h"
#include "sample/sampler.h"
#include "share/store.h"

namespace retort {

/// Tensors that do not depend on the student, shared by all students: teacher's endpoints, features, …
class SharedTensors {
 public:
  /// With a store, other runs find them too.
  explicit SharedTensors(std::optional<Store> store = {}) : store_(std::move(store)) {}
  Tensor get(const std::string& key, const std::function<Tensor()>& compute);

 private:
  std::optional<Store> store_;
  std::map<std::string, Tensor> tensors_;
};

/// A model to measure: a student, or (with no model) the teacher itself.
struct Subject {
  const Model* model = nullptr;
  int64_t student_steps = 0;
  Tensor times = {};  // of its sampler, [student_steps + 1]; undefined: as configured
};

/// What one subject got: metric values in order, series, and the samples themselves; their latents where an autoencoder
/// decodes these.
struct EvaluationResult {
  Measurement measurement;
  Tensor samples;
};

class ModelEvaluator {
 public:
  /// `teacher` is the experiment's, or a trained denoiser that plays its part; null for classifiers.
  /// Guided models are evaluated at one weight w. A trial takes two samples, to find out before the work what cannot be
  /// evaluated.
  ModelEvaluator(Experiment& experiment, const Teacher* teacher, SharedTensors& shared, std::string shared_key,
                 double guidance = 1, bool trial = false);
  ~ModelEvaluator();

  /// Throws Error where samples, features or a metric's values are not finite.
  EvaluationResult measure(const Subject& subject);
  /// Evaluations that the teacher's endpoints cost.
  int64_t endpoint_evaluations() const;

 private:
  class Context;
  std::unique_ptr<Context> context_;
  Experiment& experiment_;
  bool trial_;
};

Json to_json(const Measurement& measurement);

}  // namespace retort
