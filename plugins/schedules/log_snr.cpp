/// Times even in lambda = log(alpha / sigma), the grid of DPM-Solver.
///
/// From noise level sigma_max to sigma_min (sigma / alpha, as for `karras`), with 0 appended if final_zero. On a
/// variance-exploding process these are the exponential (log-linear) noise levels.
/// Source: Lu et al. 2022 (arXiv 2206.00927), section 3.4.
///
///     [schedule]
///     type = "log_snr"
///     steps = 18
///     sigma_max = 80.0
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

using namespace retort;

class LogSnr final : public Schedule {
 public:
  explicit LogSnr(Params& p)
      : steps_(p.get("steps", 18, "noise levels above zero; solver steps if final_zero, else one more than them",
                     at_least(2))),
        sigma_min_(p.get("sigma_min", 0.002, "least noise level before zero", more_than(0))),
        sigma_max_(p.get("sigma_max", 80.0, "greatest noise level", more_than(0))),
        final_zero_(p.get("final_zero", true, "end at sigma = 0")) {
    if (sigma_min_ >= sigma_max_) {
      throw p.error("sigma_min", "is not below sigma_max; expected sigma_min < sigma_max");
    }
  }

  Tensor times(const Process& process, double) const override {
    Tensor levels = at::linspace(std::log(sigma_max_), std::log(sigma_min_), steps_, at::kDouble).exp();
    if (final_zero_) {
      levels = at::cat({levels, at::zeros({1}, at::kDouble)});
    }
    return process.time_of_noise_level(levels);
  }

 private:
  int64_t steps_;
  double sigma_min_, sigma_max_;
  bool final_zero_;
};

RETORT_PLUGIN(LogSnr, schedule, log_snr)
