/// DPM-Solver++(2M): second order from one evaluation a step, by reuse of the step before.
///
/// The data prediction is extrapolated linearly in lambda = log(alpha / sigma). A row's first step, and a step into
/// sigma = 0, is DDIM's.
/// Source: Lu et al. 2022 (arXiv 2211.01095), algorithm 2.
///
///     [solver]
///     type = "dpmpp_2m"
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

class DpmPp2M final : public Solver {
 public:
  explicit DpmPp2M(Params&) {}
  int order() const override { return 2; }
  int evaluations() const override { return 1; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Tensor data = step.ode.data(x, step.from.t());
    Tensor &previous = step.history["data"], &lambda_previous = step.history["lambda"];
    Tensor extrapolated = data;
    if (previous.defined()) {
      const Tensor h = step.to.lambda() - step.from.lambda(), h_previous = step.from.lambda() - lambda_previous;
      const Tensor usable = (step.history.steps > 0).logical_and(h.isfinite()).logical_and(h_previous.isfinite());
      // D' = D + (D - D_previous) / (2 r), r = h_previous / h
      const Tensor weight = at::where(usable, h / (2 * h_previous), at::zeros_like(h));
      extrapolated = data + rows(weight, x) * (data - previous);
    }
    previous = data;
    lambda_previous = step.from.lambda();
    return ddim_step(step.from, step.to, x, extrapolated);
  }
};

RETORT_PLUGIN(DpmPp2M, solver, dpmpp_2m)
