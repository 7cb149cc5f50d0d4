/// N of the T discrete steps of a DDPM, counted from 1, down to 0: by default evenly spaced, t_k = T - k T / N.
///
/// The table of step t is its entry t - 1, and t = 0 is clean data. The default is the grid of Direct CM's code, and
/// that on which latent consistency models are trained, where t is called one lower. For `vp_scaled_linear`, T is 1000;
/// other processes map t / T to their own time.
///
/// Other spacings are those of diffusers, whose timesteps are t - 1: "trailing" rounds T - k T / N, "linspace" rounds
/// T - k (T - 1) / (N - 1), "leading" is 1 + steps_offset + (N - 1 - k) floor(T / N). With lower_end = false the latter
/// two are of N + 1 steps, of which the lowest is left out, as DPM-Solver does there. "lcm" has N of the
/// original_steps that a latent consistency model was trained on.
///
/// final_zero = false ends at t = 1, which diffusers calls set_alpha_to_one = false. Its DDIM goes from each t to
/// t - T / N, which with "linspace" is not the next of its list. Here it is the next.
///
/// Source: Vouitsis et al. 2024 (arXiv 2411.08954), num_discr_timesteps; Ho et al. 2020; Lin et al. 2023 (arXiv
/// 2305.08891), table 2; Luo et al. 2023 (arXiv 2310.04378).
///
///     [schedule]
///     type = "ddpm"
///     steps = 100
///     spacing = "even"               # or "trailing", "leading", "linspace", "lcm"
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

#include <string>

using namespace retort;

class Ddpm final : public Schedule {
 public:
  explicit Ddpm(Params& p)
      : steps_(p.get("steps", 100, "solver steps N", at_least(1))),
        total_(p.get("total_steps", 1000, "steps T of the diffusion process", at_least(1))),
        spacing_(p.choice("spacing", "even", {"even", "trailing", "leading", "linspace", "lcm"},
                          "of the steps; even: N has to divide T; others: diffusers'")),
        offset_(p.get("steps_offset", 0, "spacing = \"leading\": added to all steps", at_least(0))),
        lower_end_(p.get("lower_end", true,
                         "spacing = \"leading\", \"linspace\": false: N + 1 steps less the lowest, as DPM-Solver's")),
        original_(p.get("original_steps", 50, "spacing = \"lcm\": steps of the training grid", at_least(1))),
        final_zero_(p.get("final_zero", true, "end at t = 0; false: at t = 1")) {
    if (spacing_ == "even" && total_ % steps_ != 0) {
      throw p.error("steps", std::to_string(steps_) + " does not divide total_steps = " + std::to_string(total_));
    }
    if (listed() > total_) {
      throw p.error("steps", "needs a list of " + std::to_string(listed()) +
                                 " steps; expected at most total_steps = " + std::to_string(total_));
    }
    if (spacing_ == "linspace" && listed() < 2) {
      throw p.error("steps", "is 1, which \"linspace\" spaces at the clean end; expected 2 or more");
    }
    if (spacing_ == "leading" && leading(listed() - 1) > total_) {
      throw p.error("steps_offset", "makes the first step " + std::to_string(leading(listed() - 1)) +
                                        "; expected at most total_steps = " + std::to_string(total_));
    }
    if (spacing_ == "lcm" && (original_ > total_ || steps_ > original_)) {
      throw p.error("original_steps", "is " + std::to_string(original_) + "; expected steps to total_steps");
    }
  }

  Tensor times(const Process& process, double) const override {
    Tensor t = steps().to(at::kDouble);
    if (final_zero_ || t[-1].item<double>() > 1) {
      t = at::cat({t, at::full({1}, final_zero_ ? 0.0 : 1.0, at::kDouble)});
    }
    return t * (process.t_max() / static_cast<double>(total_));
  }

 private:
  // Of how many steps a list is made, before the lowest may be left out.
  int64_t listed() const {
    const bool may_drop = spacing_ == "leading" || spacing_ == "linspace";
    return steps_ + (may_drop && !lower_end_ ? 1 : 0);
  }
  // The step at a place of the list "leading", counted from the lowest.
  int64_t leading(int64_t place) const { return 1 + offset_ + place * (total_ / listed()); }

  // [N], the steps above 0.
  Tensor steps() const {
    const auto total = static_cast<double>(total_);
    const Tensor k = at::arange(steps_, at::kDouble);
    if (spacing_ == "linspace") {
      return 1 + at::round((listed() - 1 - k) * ((total - 1) / static_cast<double>(listed() - 1)));
    }
    if (spacing_ == "leading") {
      return 1 + offset_ + (listed() - 1 - k) * static_cast<double>(total_ / listed());
    }
    if (spacing_ == "lcm") {
      const Tensor skipped = at::floor(k * (static_cast<double>(original_) / static_cast<double>(steps_)));
      return (static_cast<double>(original_) - skipped) * static_cast<double>(total_ / original_);
    }
    return at::round(total - k * (total / static_cast<double>(steps_)));
  }

  int64_t steps_, total_;
  std::string spacing_;
  int64_t offset_;
  bool lower_end_;
  int64_t original_;
  bool final_zero_;
};

RETORT_PLUGIN(Ddpm, schedule, ddpm)
