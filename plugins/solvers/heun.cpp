/// Heun's method: an Euler predictor and a trapezoidal corrector.
///
/// Second order, two evaluations a step. By default it steps in sigma / alpha, as EDM's sampler does; with
/// variable = "time" it steps in the process's own time, as Direct CM's code does on `vp_scaled_linear`
/// (whose last corrector, at sigma = 0, needs final_step = "heun").
/// Source: Karras et al. 2022, algorithm 1; Vouitsis et al. 2024 (arXiv 2411.08954), HeunSolver.
///
///     [solver]
///     type = "heun"
///     variable = "sigma"             # or "time"
///     final_step = "euler"           # or "heun", with variable = "time"
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

class Heun final : public Solver {
 public:
  explicit Heun(Params& p)
      : in_time_(p.choice("variable", "sigma", {"sigma", "time"},
                          "what is stepped in: sigma / alpha, or the process's own time") == "time"),
        correct_last_(p.choice("final_step", "euler", {"euler", "heun"},
                               "the step into sigma = 0; \"heun\" evaluates the corrector at the least time at which "
                               "the drift is finite, and needs variable = \"time\"") == "heun") {
    if (correct_last_ && !in_time_) {
      throw p.error("final_step",
                    "'heun' needs variable = \"time\": in sigma / alpha the corrector at sigma = 0 is undefined");
    }
  }
  int order() const override { return 2; }
  int evaluations() const override { return 2; }

  Tensor step(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s, History&) const override {
    const Process& process = ode.process();
    const Tensor regular = (process.alpha(t) > 0).logical_and((process.sigma(s) > 0).bitwise_or(correct_last_));
    return by_rows(
        regular,
        [&](const Tensor& i) {
          const Tensor xi = x.index_select(0, i.to(x.device())), ti = t.index_select(0, i), si = s.index_select(0, i);
          return in_time_ ? step_in_time(ode.rows(i), xi, ti, si) : step_in_sigma(ode.rows(i), xi, ti, si);
        },
        [&](const Tensor& i) {
          const Tensor xi = x.index_select(0, i.to(x.device())), ti = t.index_select(0, i), si = s.index_select(0, i);
          const Ode part = ode.rows(i);
          return in_time_ ? xi + rows(si - ti, xi) * part.velocity(xi, ti)
                          : ddim_step(process, xi, part.data(xi, ti), ti, si);
        });
  }

 private:
  // y = x / alpha, s = sigma / alpha, dy/ds = eps
  static Tensor step_in_sigma(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s) {
    const Process& process = ode.process();
    const Tensor scale = process.alpha(s) / process.alpha(t);
    const Tensor h = process.alpha(s) * (process.noise_level(s) - process.noise_level(t));
    const Tensor d = ode.noise(x, t);
    const Tensor predicted = weighted_sum(scale, x, h, d);
    return weighted_sum(at::ones_like(t), weighted_sum(scale, x, 0.5 * h, d), 0.5 * h, ode.noise(predicted, s));
  }

  static Tensor step_in_time(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& s) {
    const Tensor h = s - t, one = at::ones_like(t);
    const Tensor f = ode.velocity(x, t);
    const Tensor f_next = ode.velocity(weighted_sum(one, x, h, f), s.clamp_min(ode.process().least_drift_time()));
    return weighted_sum(one, weighted_sum(one, x, 0.5 * h, f), 0.5 * h, f_next);
  }

  bool in_time_;
  bool correct_last_;
};

RETORT_PLUGIN(Heun, solver, heun)
