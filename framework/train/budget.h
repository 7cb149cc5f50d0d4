/// How far a training has come, and where it ends.
#pragma once

#include <cstdint>
#include <string>

#include "config/settings.h"

namespace retort {

struct TrainingRecord {
  int64_t step = 0;
  int64_t teacher_evaluations = 0;
  int64_t remembered = 0;  // of those, what other runs had done already
  double seconds = 0;      // of the steps alone, without evaluations and saving
};

/// Of train.steps, train.evaluations and train.seconds, what runs out first ends the training.
class Budget {
 public:
  explicit Budget(const TrainSettings& settings) : settings_(settings) {}

  /// Whether it is the steps alone: then the end is known before the work.
  bool counts_steps_alone() const { return settings_.evaluations == 0 && settings_.seconds == 0; }
  /// The greatest share that is spent of evaluations and seconds; 0 where steps alone count.
  double spent(const TrainingRecord& record) const;
  /// The same of all three, 0 to 1 and beyond.
  double progress(const TrainingRecord& record) const;
  bool is_over(const TrainingRecord& record) const { return record.step >= settings_.steps || spent(record) >= 1; }
  /// Which of `stages` equal parts the next step belongs to.
  int64_t stage(const TrainingRecord& record, int64_t stages) const;
  /// "2000 steps", "at most 2000 steps, 500000 teacher evaluations".
  std::string text() const;

 private:
  const TrainSettings& settings_;
};

}  // namespace retort
