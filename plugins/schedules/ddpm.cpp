/// N of the T discrete steps of a DDPM, evenly spaced and counted from 1: t_k = T - k T / N, down to 0.
///
/// This is the grid of Direct CM's code: the table of step t is its entry t - 1, and t = 0 is clean data.
/// Latent consistency models use the same spacing, one lower. For `vp_scaled_linear`, T is 1000; other processes map
/// t / T to their own time.
/// Source: Vouitsis et al. 2024 (arXiv 2411.08954), num_discr_timesteps; Ho et al. 2020.
///
///     [schedule]
///     type = "ddpm"
///     steps = 100
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

using namespace retort;

class Ddpm final : public Schedule {
 public:
  explicit Ddpm(Params& p)
      : steps_(p.get("steps", 100, "solver steps N", at_least(1))),
        total_(p.get("total_steps", 1000, "steps T of the diffusion process", at_least(1))) {
    if (total_ % steps_ != 0) {
      throw p.error("steps", std::to_string(steps_) + " does not divide total_steps = " + std::to_string(total_));
    }
  }

  Tensor times(const Process& process, double) const override {
    const Tensor k = at::arange(steps_ + 1, at::kDouble);
    const Tensor t = static_cast<double>(total_) - k * static_cast<double>(total_ / steps_);
    return t * (process.t_max() / static_cast<double>(total_));
  }

 private:
  int64_t steps_;
  int64_t total_;
};

RETORT_PLUGIN(Ddpm, schedule, ddpm)
