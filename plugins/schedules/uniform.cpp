/// Times even in the process's own unit, or in a root of it.
///
/// t_i = (t_max^(1/rho) + i / steps (t_min^(1/rho) - t_max^(1/rho)))^rho, i = 0 … steps. rho = 2 is DPM-Solver's
/// "time_quadratic", of DDIM. On `vp_linear`, t_min = 1e-3 and final_zero make the grid of score SDEs.
/// Source: Song et al. 2021a (DDIM, arXiv 2010.02502), appendix D; Song et al. 2021b (arXiv 2011.13456).
///
///     [schedule]
///     type = "uniform"
///     steps = 50
///     t_min = 1e-3
///     rho = 1.0
#include <retort/plugin.h>

#include <cmath>

#include "time_span.h"

using namespace retort;

class Uniform final : public Schedule {
 public:
  explicit Uniform(Params& p)
      : span_(p, 50), rho_(p.get("rho", 1.0, "exponent; higher values put more times near t_min", more_than(0))) {}

  Tensor times(const Process& process, double) const override {
    const double from = std::pow(span_.first(process), 1 / rho_), to = std::pow(span_.t_min, 1 / rho_);
    return span_.with_zero(at::linspace(from, to, span_.steps + 1, at::kDouble).pow(rho_));
  }

 private:
  TimeSpan span_;
  double rho_;
};

RETORT_PLUGIN(Uniform, schedule, uniform)
