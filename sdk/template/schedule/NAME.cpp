/// Times even in the angle atan2(sigma, alpha), from the noisiest time to clean data.
///
///     [schedule]
///     type = "@name@"
///     steps = 18
///     sigma_max = 10.0
#include <retort/plugin.h>
#include <retort/schedule.h>

#include <ATen/ops/linspace.h>
#include <ATen/ops/scalar_tensor.h>

using namespace retort;

class @Name@ final : public Schedule {
 public:
  explicit @Name@(Params& p)
      : steps_(p.get("steps", 18, "solver steps", at_least(1))),
        sigma_max_(p.get("sigma_max", 10.0, "first noise level, sigma / alpha", more_than(0))) {}

  // Strictly falling times [steps + 1] float64, in the process's own unit. `progress` is how far training has come.
  Tensor times(const Process& process, double) const override {
    const double first = at::scalar_tensor(sigma_max_, at::kDouble).atan().item<double>();
    return process.time_of_noise_level(at::linspace(first, 0, steps_ + 1, at::kDouble).tan());
  }

 private:
  int64_t steps_;
  double sigma_max_;
};

RETORT_PLUGIN(@Name@, schedule, @name@)
