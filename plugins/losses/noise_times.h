/// The times at which denoisers are trained.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

namespace retort {

/// log sigma normal (Karras et al. 2022, table 1), or t uniform (Ho et al. 2020; Lipman et al. 2023).
class NoiseTimes {
 public:
  /// From the keys `times`, `log_sigma_mean`, `log_sigma_std` and `t_min`.
  explicit NoiseTimes(Params& p)
      : lognormal_(p.choice("times", "lognormal", {"lognormal", "uniform"},
                            "how noise is drawn: log sigma normal (EDM), or t uniform (DDPM, flow matching)") ==
                   "lognormal"),
        mean_(p.get("log_sigma_mean", -1.2, "times = \"lognormal\": mean of log(sigma / alpha)")),
        std_(p.get("log_sigma_std", 1.2, "times = \"lognormal\": its standard deviation", more_than(0))),
        t_min_(p.get("t_min", 1e-3, "times = \"uniform\": least time, as a fraction of the noisiest", between(0, 1))) {}

  /// [B] float64.
  Tensor draw(const TrainingStep& step) const {
    if (lognormal_) {
      return step.process.time_of_noise_level((step.normal() * std_ + mean_).exp());
    }
    return (t_min_ + (1 - t_min_) * step.uniform()) * step.process.t_max();
  }

 private:
  bool lognormal_;
  double mean_, std_, t_min_;
};

}  // namespace retort
