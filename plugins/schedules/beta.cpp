/// Times at the quantiles of a beta distribution: many at both ends, few between.
///
/// t_i = t_min + F^-1(1 - i / steps) (t_max - t_min), F the distribution function of Beta(alpha, beta), i = 0 … steps.
/// With variable = "noise_level" the same is done to sigma / alpha, as diffusers' use_beta_sigmas does. n of its steps
/// are steps = n - 1 here, with its last time as t_min, and final_zero.
///
/// Source: Lee et al. 2024 (arXiv 2407.12173).
///
///     [schedule]
///     type = "beta"
///     steps = 20
///     alpha = 0.6
///     beta = 0.6
///     variable = "time"              # or "noise_level"
#include <retort/plugin.h>

#include <vector>

#include "../shared/quantile.h"
#include "time_span.h"

using namespace retort;

class BetaSchedule final : public Schedule {
 public:
  explicit BetaSchedule(Params& p)
      : span_(p, 20),
        alpha_(p.get("alpha", 0.6, "of the distribution; lower values put more times near t_min", more_than(0))),
        beta_(p.get("beta", 0.6, "of the distribution; lower values put more times near t_max", more_than(0))),
        of_levels_(p.choice("variable", "time", {"time", "noise_level"}, "what is spaced") == "noise_level") {}

  Tensor times(const Process& process, double) const override {
    std::vector<double> quantiles;
    for (int64_t i = 0; i <= span_.steps; ++i) {
      const double mass = 1 - static_cast<double>(i) / static_cast<double>(span_.steps);
      quantiles.push_back(beta_quantile(mass, alpha_, beta_));
    }
    const Tensor shares = at::tensor(quantiles, at::kDouble);
    if (!of_levels_) {
      return span_.times(process, shares);
    }
    const Tensor ends = process.noise_level(at::tensor({span_.first(process), span_.t_min}, at::kDouble));
    if (!ends.isfinite().all().item<bool>()) {
      throw RequestError(
          "schedule.variable = \"noise_level\" needs a first time with alpha > 0; expected a lower t_max");
    }
    return span_.with_zero(process.time_of_noise_level(ends[1] + shares * (ends[0] - ends[1])));
  }

 private:
  TimeSpan span_;
  double alpha_, beta_;
  bool of_levels_;
};

RETORT_PLUGIN(BetaSchedule, schedule, beta)
