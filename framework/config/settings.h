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
  bool low_rank, merged;
  int64_t rank;
  double alpha;
  double adapter_scale;  // of the change, where the student is sampled or measured
  std::vector<std::string> layers;
  std::string base;
};

/// The greatest length of a power-function average, that of the mean over all of a training: sqrt(1 / 12).
inline constexpr double longest_average = 0.2886;

/// [train]
struct TrainSettings {
  explicit TrainSettings(Params& p);
  int64_t steps, evaluations;
  double seconds;
  int64_t batch, gradient_accumulation;
  bool gradient_checkpointing;
  std::string optimizer;
  double learning_rate, weight_decay, beta1, beta2, epsilon, momentum;
  int64_t warmup;
  bool cosine;
  double max_grad_norm, ema;
  bool ema_ramp;
  double ema_half_life, ema_rampup;
  std::vector<double> ema_lengths;
  int64_t ema_snapshots;
  /// Whether there is a moving average, which is what is evaluated; its decay at a step, counted from 1.
  bool averages() const { return ema > 0 || ema_half_life > 0; }
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
  std::vector<std::vector<double>> student_times;  // between the ends of the grid, for samplers of one step more
  std::optional<double> gamma;
  std::vector<double> guidance;
  std::vector<std::string> metrics;
  std::string features;
  bool against_teacher;
  int64_t reference_samples;
  bool equal_labels;
  bool last_weights;
  std::vector<double> ema_lengths;
  int64_t batch, seed, pictures;
};

/// [encode]
struct EncodeSettings {
  explicit EncodeSettings(Params& p);
  int64_t rows, batch;
  std::string dtype;
  bool drawn;
  int64_t seed;
  std::string text_encoder, tokens, made_by;
};

/// [report]
struct TrackSettings {
  explicit TrackSettings(Params& p);

  std::vector<std::string> trackers;
  int64_t pictures_every;
  int64_t pictures;
  int64_t histograms_every;
  int64_t loss_bins;
};

struct ReportSettings {
  explicit ReportSettings(Params& p);
  std::string compare;
  std::vector<std::string> plot;
  std::vector<std::string> columns;
};

}  // namespace retort
