/// Noise levels even in sigma^(1/rho), the grid of EDM and of consistency models.
///
/// sigma_i = (sigma_max^(1/rho) + i / (steps - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho, i = 0 … steps - 1, and
/// 0 appended if final_zero. Levels are sigma / alpha on a variance-preserving process. With rho = 1 they are even in
/// sigma itself. Source: Karras et al. 2022, eq. 5.
///
///     [schedule]
///     type = "karras"
///     steps = 18
///     sigma_max = 80.0
///     rho = 7.0
#include <retort/plugin.h>

#include "level_grid.h"

using namespace retort;

class Karras final : public Schedule {
 public:
  explicit Karras(Params& p)
      : grid_(p), rho_(p.get("rho", 7.0, "exponent; higher values put more levels near sigma_min", more_than(0))) {}

  Tensor times(const Process& process, double) const override {
    return grid_.times(process, karras_levels(grid_.range, rho_, grid_.places()));
  }

 private:
  LevelGrid grid_;
  double rho_;
};

RETORT_PLUGIN(Karras, schedule, karras)
