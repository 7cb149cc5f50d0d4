/// The log of every training, which its report reads: a line of JSON for each step that is logged.
#pragma once

#include <filesystem>

#include "retort/tracker.h"

namespace retort {

class JsonLines final : public Tracker {
 public:
  static constexpr const char* file_name = "metrics.jsonl";  // in the folder of a training

  void begin(const TrackedRun& run, int64_t from_step) override;
  /// {"step", a key for each scalar, and an object for each group}. What is not finite is null.
  void log(int64_t step, const Scalars& scalars) override;

 private:
  std::filesystem::path file_;
};

}  // namespace retort
