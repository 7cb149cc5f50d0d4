/// The tables of a configuration that belong to the host itself. Each constructor declares its keys, as a plugin's
/// does.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "retort/params.h"

namespace retort {

/// [run]
struct RunSettings {
  explicit RunSettings(Params& p, const std::string& default_name);
  std::string name;
  int64_t seed;
  std::string output, cache;
};

/// [plugins]
struct PluginSettings {
  explicit PluginSettings(Params& p);
  std::string prefer;
};

/// [student], less the parametrisation and the boundary, which the SDK declares.
struct StudentSettings {
  explicit StudentSettings(Params& p);
  bool from_teacher;
  bool low_rank;
  int64_t rank;
  double alpha;
  std::vector<std::string> layers;
  std::string base;
};

/// [train]
struct TrainSettings {
  explicit TrainSettings(Params& p);
  int64_t steps, batch, gradient_accumulation;
  std::string optimizer;
  double learning_rate, weight_decay, beta1, beta2, epsilon, momentum;
  int64_t warmup;
  bool cosine;
  double max_grad_norm, ema;
  bool ema_ramp;
  /// The moving average's decay at a step, counted from 1.
  double ema_decay(int64_t step) const;
  int64_t log_every;
  double save_every;
};

/// [evaluate]
struct EvaluateSettings {
  explicit EvaluateSettings(Params& p);
  std::vector<int64_t> at;
  int64_t samples;
  std::vector<int64_t> student_steps;
  std::optional<double> gamma;
  std::vector<double> guidance;
  std::vector<std::string> metrics;
  std::string features;
  bool against_teacher;
  int64_t reference_samples;
  bool equal_labels;
  bool last_weights;
  int64_t batch, seed, pictures;
};

/// [report]
struct ReportSettings {
  explicit ReportSettings(Params& p);
  std::string compare;
  std::vector<std::string> plot;
  std::vector<std::string> columns;
};

}  // namespace retort
