/// EDM's stochastic sampler: noise is added before each step of a solver of the ODE, which then starts from higher up.
///
/// With levels l = sigma / alpha and N steps, a step from l_t within [s_tmin, s_tmax] starts from
///   l' = (1 + gamma) l_t, gamma = min(s_churn / N, sqrt(2) - 1), y' = x / alpha + sqrt(l'^2 - l_t^2) s_noise z
/// and is the solver's from there to l_s. Langevin-like: the noise is exact, so in expectations it has the solver's
/// order, and its evaluations. s_churn = 0 is the solver itself. It takes single steps otherwise: one that uses steps
/// before, of another path, is DDIM here. A row's N counts the steps that it takes itself; a step that is taken alone
/// has N = 1. l' is at most the process's noisiest level, if it has one; a step out of alpha = 0 has no churn. The
/// defaults are those for ImageNet-64, where s_noise = 1.003 made up for a teacher that removes too much.
/// Source: Karras et al. 2022 (arXiv 2206.00364), algorithm 2, with solver = "heun"; k-diffusion has "ddim" too, as
/// sample_euler.
///
///     [solver]
///     type = "churn"
///     solver = "heun"                # or another that draws no noise, such as "ddim"
///     s_churn = 40.0
///     s_tmin = 0.05
///     s_tmax = 50.0
///     s_noise = 1.0
#include <retort/plugin.h>

#include <cmath>

#include "sde.h"

using namespace retort;

class Churn final : public Solver {
 public:
  explicit Churn(Params& p)
      : solver_(p.plugin<Solver>("solver", "heun", "takes each step from the level that the noise has raised")),
        churn_(p.get("s_churn", 40.0, "gamma times the number of steps; 0: none, the solver itself", at_least(0))),
        least_(p.get("s_tmin", 0.05, "least noise level sigma / alpha that is churned", at_least(0))),
        most_(p.get("s_tmax", 50.0, "greatest noise level sigma / alpha that is churned", at_least(0))),
        s_noise_(p.get("s_noise", 1.0, "factor of the noise; the marginals are kept by 1 alone", at_least(0))) {
    if (solver_ && solver_->stochastic()) {
      throw p.error("solver", "it draws noise of its own; expected a solver of the ODE");
    }
    if (most_ < least_) {
      throw p.error("s_tmax", "below s_tmin; expected at least that");
    }
  }
  int order() const override { return solver_->order(); }
  int evaluations() const override { return solver_->evaluations(); }
  bool stochastic() const override { return churn_ > 0; }

  Tensor step(const Step& step, const Tensor& x) const override {
    if (!stochastic()) {
      return take_step(*solver_, step, x);
    }
    const Tensor& level = step.from.noise_level();
    const Tensor churned = (level >= least_).logical_and(level <= most_).logical_and(step.from.alpha() > 0);
    const Process& process = step.ode.process();
    const Tensor count = (step.history.steps + step.remaining).to(at::kDouble);
    Tensor raised = level * (1 + (churn_ / count).clamp_max(std::sqrt(2.0) - 1));
    if (!process.is_variance_exploding()) {
      const Tensor noisiest = process.noise_level(at::full_like(level, process.t_max()));
      raised = at::minimum(raised, at::maximum(noisiest, level));
    }
    const Times from(process,
                     at::where(churned, process.time_of_noise_level(at::where(churned, raised, 1.0)), step.from.t()));
    // y' = y + sqrt(l'^2 - l^2) z, in x
    const Tensor ratio = at::where(churned, from.alpha() / step.from.alpha(), at::ones_like(level));
    const Tensor added = (from.noise_level().square() - level.square()).clamp_min(0).sqrt();
    const Tensor up = at::where(churned, s_noise_ * from.alpha() * added, at::zeros_like(level));
    const Tensor start = combine({{ratio, x}, {up, step.noise.brownian(x, step.from, step.to)}});
    History none;
    none.grow(x.size(0));
    return take_step(*solver_, Step{step.ode, from, step.to, none, step.noise}, start);
  }

 private:
  std::shared_ptr<Solver> solver_;
  double churn_, least_, most_, s_noise_;
};

RETORT_PLUGIN(Churn, solver, churn)
