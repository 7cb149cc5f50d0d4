/// Noise levels even in sigma^(1/rho), the grid of EDM and of consistency models.
///
/// sigma_i = (sigma_max^(1/rho) + i / (steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, i = 0 … steps - 1, and
/// 0 appended if final_zero. Levels are sigma / alpha on a variance-preserving process. Source: Karras et al. 2022,
/// eq. 5.
///
///     [schedule]
///     type = "karras"
///     steps = 18
///     sigma_max = 80.0
///     rho = 7.0
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ATen.h>

using namespace retort;

class Karras final : public Schedule {
 public:
  explicit Karras(Params& p)
      : steps_(p.get("steps", 18, "noise levels above zero; solver steps if final_zero, else one more than them",
                     at_least(2))),
        sigma_min_(p.get("sigma_min", 0.002, "least noise level before zero", more_than(0))),
        sigma_max_(p.get("sigma_max", 80.0, "greatest noise level", more_than(0))),
        rho_(p.get("rho", 7.0, "exponent; higher values put more levels near sigma_min", more_than(0))),
        final_zero_(p.get("final_zero", true, "end at sigma = 0")) {
    if (sigma_min_ >= sigma_max_) {
      throw p.error("sigma_min", "is not below sigma_max; expected sigma_min < sigma_max");
    }
  }

  Tensor times(const Process& process, double) const override {
    const double from = std::pow(sigma_max_, 1 / rho_);
    const double to = std::pow(sigma_min_, 1 / rho_);
    const Tensor ramp = at::arange(steps_, at::kDouble) / static_cast<double>(steps_ - 1);
    Tensor levels = (from + ramp * (to - from)).pow(rho_);
    if (final_zero_) {
      levels = at::cat({levels, at::zeros({1}, at::kDouble)});
    }
    return process.time_of_noise_level(levels);
  }

 private:
  int64_t steps_;
  double sigma_min_, sigma_max_, rho_;
  bool final_zero_;
};

RETORT_PLUGIN(Karras, schedule, karras)
