/// Even steps near noise that are as short as those of a grid many times finer, and quadratic ones from there to data.
///
/// With L = linear_steps, N = steps and c = threshold, t falls from t_max to t_min as the share
/// 1 - c i / L - (1 - c N / L) (max(0, i - L) / (N - L))^2 does, i = 0 … N: its slope has no jump at L.
/// Source: Polyak et al. 2024 (Movie Gen, arXiv 2410.13720); Mochi's pipeline of diffusers, linear_quadratic_schedule.
///
///     [schedule]
///     type = "linear_quadratic"
///     steps = 50
///     threshold = 0.025
#include <retort/plugin.h>

#include "time_span.h"

using namespace retort;

class LinearQuadratic final : public Schedule {
 public:
  explicit LinearQuadratic(Params& p)
      : span_(p, 50, 2),
        threshold_(p.get("threshold", 0.025, "share of the way that the even steps go", open_fraction)),
        linear_steps_(p.get("linear_steps", 0, "how many they are; 0: half of all", at_least(0))) {
    linear_steps_ = linear_steps_ > 0 ? linear_steps_ : span_.steps / 2;
    if (linear_steps_ >= span_.steps) {
      throw p.error("linear_steps", "leaves no quadratic step; expected fewer than steps");
    }
    if (threshold_ * static_cast<double>(span_.steps) > static_cast<double>(linear_steps_)) {
      throw p.error("threshold", "makes the even steps longer than those of an even grid; expected a lower one");
    }
  }

  Tensor times(const Process& process, double) const override {
    const auto n = static_cast<double>(span_.steps), linear = static_cast<double>(linear_steps_);
    const Tensor i = at::arange(span_.steps, at::kDouble);
    const Tensor after = (i - linear).clamp_min(0) / (n - linear);
    const Tensor shares = 1 - threshold_ * i / linear - (1 - threshold_ * n / linear) * after.square();
    return span_.times(process, at::cat({shares, at::zeros({1}, at::kDouble)}));
  }

 private:
  static constexpr Range open_fraction = {.low = 0, .high = 1, .low_open = true, .high_open = true};

  TimeSpan span_;
  double threshold_;
  int64_t linear_steps_;
};

RETORT_PLUGIN(LinearQuadratic, schedule, linear_quadratic)
