/// What grids between two times of a process share: their ends, their length, and the step to clean data.
#pragma once

#include <retort/schedule.h>

#include <ATen/ATen.h>

#include <string>

namespace retort {

/// The keys `steps`, `t_max`, `t_min` and `final_zero`.
struct TimeSpan {
  int64_t steps;
  double t_max, t_min;
  bool final_zero;

  explicit TimeSpan(Params& p, int64_t default_steps, double least_steps = 1)
      : steps(p.get("steps", default_steps, "solver steps from t_max to t_min", at_least(least_steps))),
        t_max(p.get("t_max", 0.0, "first time; 0: the process's noisiest", at_least(0))),
        t_min(p.get("t_min", 0.0, "last time", at_least(0))),
        final_zero(p.get("final_zero", false, "one more step, from t_min to 0")) {
    if (t_max > 0 && t_min >= t_max) {
      throw p.error("t_min", "is not below t_max; expected t_min < t_max");
    }
    if (final_zero && t_min == 0) {
      throw p.error("final_zero", "is true, but t_min is 0 already; expected t_min > 0");
    }
  }

  double first(const Process& process) const {
    const double out = t_max > 0 ? t_max : process.t_max();
    if (t_min >= out) {
      throw RequestError("schedule.t_min is not below the process's noisiest time, " + std::to_string(out));
    }
    return out;
  }

  /// 1 - i / steps, i = 0 … steps.
  Tensor falling() const { return at::linspace(1, 0, steps + 1, at::kDouble); }

  /// The times at shares of the way from t_min to t_max: of 1, …, 0 [steps + 1].
  Tensor times(const Process& process, const Tensor& shares) const {
    return with_zero(t_min + (first(process) - t_min) * shares);
  }

  /// Times [steps + 1], and 0 after them if final_zero.
  Tensor with_zero(const Tensor& times) const {
    return final_zero ? at::cat({times, at::zeros({1}, at::kDouble)}) : times;
  }
};

}  // namespace retort
