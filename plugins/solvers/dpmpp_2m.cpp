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

  Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History& history) const override {
    const Process& process = ode.process();
    const Tensor data = ode.data(x, t);
    Tensor extrapolated = data;
    if (!history.state.empty()) {
      const Tensor& previous = history.state[0];
      const Tensor t_previous = history.state[1];
      const Tensor h = process.lambda(s) - process.lambda(t);
      const Tensor h_previous = process.lambda(t) - process.lambda(t_previous);
      const Tensor usable = (history.steps > 0).logical_and(h.isfinite()).logical_and(h_previous.isfinite());
      // D' = D + (D - D_previous) / (2 r), r = h_previous / h
      const Tensor weight = at::where(usable, h / (2 * h_previous), at::zeros_like(h));
      extrapolated = data + rows(weight, x) * (data - previous);
    }
    history.state = {data, t};
    return ddim_step(process, x, extrapolated, t, s);
  }
};

RETORT_PLUGIN(DpmPp2M, solver, dpmpp_2m)
