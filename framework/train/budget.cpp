#include "train/budget.h"

#include <algorithm>

#include "retort/value.h"

namespace retort {

double Budget::spent(const TrainingRecord& record) const {
  double out = 0;
  if (settings_.evaluations > 0) {
    out = static_cast<double>(record.teacher_evaluations) / static_cast<double>(settings_.evaluations);
  }
  if (settings_.seconds > 0) {
    out = std::max(out, record.seconds / settings_.seconds);
  }
  return out;
}

double Budget::progress(const TrainingRecord& record) const {
  return std::max(static_cast<double>(record.step) / static_cast<double>(settings_.steps), spent(record));
}

int64_t Budget::stage(const TrainingRecord& record, int64_t stages) const {
  const int64_t by_steps = record.step * stages / settings_.steps;
  const auto by_rest = static_cast<int64_t>(std::min(spent(record), 1.0) * static_cast<double>(stages));
  return std::min(std::max(by_steps, by_rest), stages - 1);
}

std::string Budget::text() const {
  std::string out = std::to_string(settings_.steps) + " steps";
  if (counts_steps_alone()) {
    return out;
  }
  if (settings_.evaluations > 0) {
    out += ", " + std::to_string(settings_.evaluations) + " teacher evaluations";
  }
  if (settings_.seconds > 0) {
    out += ", " + Value{settings_.seconds, {}}.text() + " s";
  }
  return "at most " + out;
}

}  // namespace retort
