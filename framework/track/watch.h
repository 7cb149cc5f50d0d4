/// What is seen of a training while it runs: its numbers, samples and weights, passed on to every tracker.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "config/experiment.h"
#include "retort/model.h"
#include "retort/tracker.h"
#include "train/weights.h"

namespace retort {

class Watch {
 public:
  /// Of the training in a folder, by its own log and by [track].
  Watch(const Experiment& experiment, std::filesystem::path folder);

  /// Training goes on from after this step.
  void begin(int64_t from_step) const;
  /// `machine`: numbers of no two runs; the log, which is the same wherever a training is stopped, leaves them out.
  void log(int64_t step, Scalars scalars, const Scalars& machine) const;
  /// Where they are due at this step: the gradients that lead to it, the weights after it, and samples by these.
  /// `network` is that of the student.
  void show_gradients(int64_t step, const Weights& trained) const;
  bool is_due(int64_t step) const { return shows_samples(step) || shows_weights(step); }
  void show(int64_t step, const Weights& trained, Network& network, const Model& student) const;
  /// The results of an evaluation, rows as results.json has them.
  void end(const Json& rows) const;

 private:
  bool shows_samples(int64_t step) const;
  bool shows_weights(int64_t step) const;
  void show_samples(int64_t step, const Model& student) const;

  const Experiment& experiment_;
  std::filesystem::path folder_;
  std::vector<std::shared_ptr<Tracker>> trackers_;
};

/// The part of the time's range that a row belongs to, and how a log calls it: [B] int64, of `bins` parts that are even
/// in the angle atan(sigma / alpha), from clean data to the noisiest time.
Tensor time_bins(const Process& process, const Tensor& t, int64_t bins);
std::vector<std::string> time_bin_names(const Process& process, int64_t bins);

}  // namespace retort
