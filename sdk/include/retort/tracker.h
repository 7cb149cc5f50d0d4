/// Where a training's numbers and pictures go while it runs: a file, or whatever draws curves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "retort/params.h"
#include "retort/tensor.h"

namespace retort {

/// One number of a step. Not finite where there was none.
struct Scalar {
  std::string name;
  std::variant<int64_t, double> value;
  std::string group = "";  // what it stands under; empty for what every training has
};
using Scalars = std::vector<Scalar>;

/// What was measured after a step: a number for each metric, and each way of sampling that it was measured with.
struct Measured {
  int64_t step;
  Scalars scalars;
};

/// What is tracked.
struct TrackedRun {
  std::string name;
  std::filesystem::path folder;  // of this training; a tracker keeps its files there
  Value config;                  // with every default filled in
};

class RETORT_API Tracker {
 public:
  static constexpr const char* kind = "tracker";
  using Interface = Tracker;
  virtual ~Tracker();

  /// Comes first. Training goes on from after this step: what was logged of later ones is to be forgotten, as it will
  /// come again. 0 forgets everything.
  virtual void begin(const TrackedRun& run, int64_t from_step) = 0;
  /// Keeps the numbers of a step; they outlive a process that is killed after this.
  virtual void log(int64_t step, const Scalars& scalars) = 0;
  /// Pictures [n, C, H, W] in [0, 1], C being 1 or 3, of the same noise at every step. By default they are not kept.
  virtual void pictures(int64_t step, const std::string& name, const Tensor& pictures);
  /// Numbers [n] whose distribution is of interest. By default they are not kept.
  virtual void histogram(int64_t step, const std::string& name, const Tensor& values);
  /// Comes last, with what was measured of the model at each step that was evaluated, in order. It may come again, in
  /// another process, and stands for all that came with an earlier one. By default nothing is kept.
  virtual void end(const std::vector<Measured>& measured);
};

}  // namespace retort
