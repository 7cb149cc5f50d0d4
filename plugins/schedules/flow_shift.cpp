/// Even times that are shifted towards noise, as flow models of large pictures are sampled.
///
/// u_i = 1 - i / steps becomes t_i = s u_i / (1 + (s - 1) u_i), a share of the process's noisiest time. On
/// `rectified_flow` this multiplies the noise level t / (1 - t) by s. s is `shift`, or follows the length L of the
/// picture's sequence of tokens, where that is given: s = e^mu ("exponential") or mu ("linear"), and mu is linear in L
/// from base_shift at base_image_seq_len to max_shift at max_image_seq_len. With shift_terminal, 1 - t is then scaled
/// such that the last time before 0 is this one.
///
/// Keys are those of diffusers' FlowMatchEulerDiscreteScheduler. Where a pipeline gives that no times, its last one
/// before 0 is 1 / 1000, shifted twice: here last = 0.001 s / (1 + 0.001 (s - 1)).
///
/// Source: Esser et al. 2024 (Stable Diffusion 3, arXiv 2403.03206), section 5.3.2; diffusers, calculate_shift.
///
///     [schedule]
///     type = "flow_shift"
///     steps = 28
///     shift = 3.0
///     image_seq_len = 0              # 4096, for one: shift then follows it
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

#include <cmath>

#include "../shared/flow_shift.h"

using namespace retort;

class FlowShift final : public Schedule {
 public:
  explicit FlowShift(Params& p)
      : steps_(p.get("steps", 28, "solver steps", at_least(1))),
        shift_(p.get("shift", 3.0, "of the times; 1: even ones, above 1: more of them near noise", more_than(0))),
        last_(p.get("last", 0.0, "the last time before 0, before the shift; 0: 1 / steps",
                    {.low = 0, .high = 1, .high_open = true})),
        terminal_(p.get("shift_terminal", 0.0, "the last time before 0, after the shift; 0: as it comes",
                        {.low = 0, .high = 1, .high_open = true})) {
    const int64_t length = p.get("image_seq_len", 0, "tokens of a picture; 0: `shift` holds", at_least(0));
    const double base_shift = p.get("base_shift", 0.5, "mu at base_image_seq_len");
    const double max_shift = p.get("max_shift", 1.15, "mu at max_image_seq_len");
    const int64_t base_length = p.get("base_image_seq_len", 256, "tokens at which mu is base_shift", at_least(1));
    const int64_t max_length = p.get("max_image_seq_len", 4096, "tokens at which mu is max_shift", at_least(2));
    const bool exponential = p.choice("time_shift_type", "exponential", {"exponential", "linear"},
                                      "image_seq_len > 0: whether the shift is e^mu or mu") == "exponential";
    if (base_length >= max_length) {
      throw p.error("base_image_seq_len", "is not below max_image_seq_len; expected fewer tokens");
    }
    if (length > 0) {
      const double slope = (max_shift - base_shift) / static_cast<double>(max_length - base_length);
      const double mu = base_shift + slope * static_cast<double>(length - base_length);
      shift_ = exponential ? std::exp(mu) : mu;
    }
    if (!(shift_ > 0)) {
      throw p.error("time_shift_type", "makes a shift of " + std::to_string(shift_) + "; expected one above 0");
    }
    if (steps_ == 1 && (last_ > 0 || terminal_ > 0)) {
      throw p.error(last_ > 0 ? "last" : "shift_terminal", "names a time between, but there is one step; expected 2");
    }
  }

  Tensor times(const Process& process, double) const override {
    const double last = last_ > 0 ? last_ : 1 / static_cast<double>(steps_);
    Tensor t = shifted(at::linspace(1, last, steps_, at::kDouble), shift_);
    if (terminal_ > 0) {
      t = 1 - (1 - t) * ((1 - terminal_) / (1 - t[-1]));
    }
    return process.t_max() * at::cat({t, at::zeros({1}, at::kDouble)});
  }

 private:
  int64_t steps_;
  double shift_, last_, terminal_;
};

RETORT_PLUGIN(FlowShift, schedule, flow_shift)
