/// Times even in lambda = log(alpha / sigma), the grid of DPM-Solver; k-diffusion's exponential noise levels.
///
/// log sigma_i = log sigma_min + (1 - i / (steps - 1))^rho (log sigma_max - log sigma_min), i = 0 … steps - 1, and 0
/// appended if final_zero. Levels are sigma / alpha, as for `karras`. rho = 1 is even in lambda; other values are
/// k-diffusion's polyexponential levels.
/// Source: Lu et al. 2022 (arXiv 2206.00927), section 3.4; k-diffusion, get_sigmas_polyexponential.
///
///     [schedule]
///     type = "log_snr"
///     steps = 18
///     sigma_max = 80.0
///     rho = 1.0
#include <retort/plugin.h>

#include "level_grid.h"

using namespace retort;

class LogSnr final : public Schedule {
 public:
  explicit LogSnr(Params& p)
      : grid_(p), rho_(p.get("rho", 1.0, "exponent; higher values put more levels near sigma_min", more_than(0))) {}

  Tensor times(const Process& process, double) const override {
    const double from = std::log(grid_.range.sigma_max), to = std::log(grid_.range.sigma_min);
    return grid_.times(process, (to + (1 - grid_.places()).pow(rho_) * (from - to)).exp());
  }

 private:
  LevelGrid grid_;
  double rho_;
};

RETORT_PLUGIN(LogSnr, schedule, log_snr)
