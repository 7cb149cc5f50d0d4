/// A sink that writes a line of JSON for each step that is logged.
#pragma once

#include "track/sink.h"

namespace retort {

class JsonLines final : public Sink {
 public:
  static constexpr const char* file_name = "metrics.jsonl";  // in the folder of a training

  explicit JsonLines(std::filesystem::path file) : file_(std::move(file)) {}
  void begin(int64_t from_step) override;
  /// {"step", a key for each scalar, and an object for each group}. What is not finite is null.
  void log(int64_t step, const Scalars& scalars) override;

 private:
  std::filesystem::path file_;
};

}  // namespace retort
