/// The noise levels of the variance-preserving SDE at even times, on any process.
///
/// sigma(t)^2 = exp(beta_min t + (beta_max - beta_min) t^2 / 2) - 1 at `steps` times from 1 to eps_s, and 0 appended if
/// final_zero. Levels are sigma / alpha, as for `karras`. On `vp_linear` these are the times of `uniform`.
/// Source: Song et al. 2021 (arXiv 2011.13456), eq. 33; Karras et al. 2022, table 1; k-diffusion, get_sigmas_vp.
///
///     [schedule]
///     type = "vp"
///     steps = 18
///     eps_s = 1e-3
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

using namespace retort;

class Vp final : public Schedule {
 public:
  explicit Vp(Params& p)
      : steps_(p.get("steps", 18, "noise levels above zero; solver steps if final_zero, else one more than them",
                     at_least(2))),
        beta_min_(p.get("beta_min", 0.1, "beta(0) of the SDE", more_than(0))),
        beta_max_(p.get("beta_max", 20.0, "beta(1) of the SDE", more_than(0))),
        eps_s_(p.get("eps_s", 1e-3, "the SDE's last time before zero",
                     {.low = 0, .high = 1, .low_open = true, .high_open = true})),
        final_zero_(p.get("final_zero", true, "end at sigma = 0")) {
    if (beta_min_ > beta_max_) {
      throw p.error("beta_min", "is above beta_max; expected beta_min <= beta_max");
    }
  }

  Tensor times(const Process& process, double) const override {
    const Tensor t = at::linspace(1, eps_s_, steps_, at::kDouble);
    Tensor levels = at::expm1(beta_min_ * t + 0.5 * (beta_max_ - beta_min_) * t * t).sqrt();
    if (final_zero_) {
      levels = at::cat({levels, at::zeros({1}, at::kDouble)});
    }
    return process.time_of_noise_level(levels);
  }

 private:
  int64_t steps_;
  double beta_min_, beta_max_, eps_s_;
  bool final_zero_;
};

RETORT_PLUGIN(Vp, schedule, vp)
