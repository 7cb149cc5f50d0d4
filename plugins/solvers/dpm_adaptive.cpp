/// DPM-Solver-12 and DPM-Solver-23: steps of DPM-Solver with a length for each sample, by an embedded lower order.
///
/// Each step is taken at orders p - 1 and p, which share their evaluations; the difference estimates the error
///   E = rms((x_p - x_low) / max(atol, rtol max(|x_low|, |x_low before|)))
/// and a PID controller sets the next length in lambda = log(alpha / sigma): h <- h (1 + atan(f - 1)), f = (E_n^-b1
/// E_{n-1}^-b2 E_{n-2}^-b3), b1 = (kP + kI + kD) / p, b2 = -(kP + 2 kD) / p, b3 = kD / p. The step stands where the
/// factor is at least `accept_safety`. Each interval of the grid begins anew, so a grid of one interval serves it best;
/// an interval out of alpha = 0 or into sigma = 0 is DDIM's. Rows that have arrived cost nothing.
/// Source: Lu et al. 2022 (arXiv 2206.00927), its adaptive step size; the controller is that of k-diffusion's
/// `dpm_solver_adaptive`, which has one length for a whole batch.
///
///     [solver]
///     type = "dpm_adaptive"
///     order = 3                      # or 2
///     rtol = 0.05
///     atol = 0.0078                  # of the state x
///     h_init = 0.05
#include <array>

#include "dpm_step.h"

using namespace retort;

namespace {
constexpr int64_t most_rounds = 100000;
constexpr double least_error = 1e-8;
}  // namespace

class DpmAdaptive final : public Solver {
 public:
  explicit DpmAdaptive(Params& p)
      : order_(static_cast<int>(p.get("order", 3, "the higher of the two orders", between(2, 3)))),
        rtol_(p.get("rtol", 0.05, "relative tolerance of one step", at_least(0))),
        atol_(p.get("atol", 0.0078, "absolute tolerance of one step", more_than(0))),
        h_init_(p.get("h_init", 0.05, "first length tried, in log(alpha / sigma)", more_than(0))),
        accept_(p.get("accept_safety", 0.81, "least factor of the length at which a step stands",
                      {.low = 0, .high = 1, .low_open = true})) {
    const double kp = p.get("pcoeff", 0.0, "proportional gain kP of the controller"),
                 ki = p.get("icoeff", 1.0, "integral gain kI"), kd = p.get("dcoeff", 0.0, "derivative gain kD");
    powers_ = {(kp + ki + kd) / order_, -(kp + 2 * kd) / order_, kd / order_};
  }
  int order() const override { return order_; }
  int evaluations() const override { return 0; }
  bool interior() const override { return true; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Tensor goal = step.to.lambda();
    Tensor lambda = step.from.lambda().clone(), h = at::full_like(lambda, h_init_);
    Tensor errors = at::zeros({lambda.size(0), 3}, at::kDouble);  // inverse ones: E_n, E_{n-1}, E_{n-2}; 0: none yet
    Tensor state = x.clone(), before = x.clone();
    for (int64_t round = 0;; ++round) {
      const Tensor active = at::nonzero(lambda < goal).view({-1});
      if (active.numel() == 0) {
        return state;
      }
      if (round == most_rounds) {
        throw Error("dpm_adaptive: no end after " + std::to_string(most_rounds) +
                    " steps; the tolerance may be below what the precision can resolve");
      }
      const Tensor there = active.to(x.device());
      const Tensor from = lambda.index_select(0, active), length = h.index_select(0, active);
      const Tensor to = at::minimum(from + length, goal.index_select(0, active));
      const Process& p = step.ode.process();
      const Ode ode = step.ode.rows(active);
      const Tensor old = state.index_select(0, there);
      DpmStep way(DpmStep::Prediction::noise, ode, Times(p, p.time(from)), Times(p, p.time(to)), old);
      const Tensor low = order_ == 2 ? way.first() : way.second(1.0 / 3);
      const Tensor high = order_ == 2 ? way.second(0.5) : way.third(1.0 / 3, 2.0 / 3);

      const Tensor scale = (rtol_ * at::maximum(low.abs(), before.index_select(0, there).abs())).clamp_min(atol_);
      const Tensor error = ((low - high) / scale).flatten(1).square().mean(1).sqrt().to(at::kCPU, at::kDouble);
      if (error.isnan().any().item<bool>()) {
        throw Error("dpm_adaptive: the teacher's prediction is not a number");
      }
      Tensor three = errors.index_select(0, active);
      const Tensor now = (error + least_error).reciprocal();
      three = at::where((three.select(1, 1) == 0).unsqueeze(1), now.unsqueeze(1), three);
      three.select(1, 0).copy_(now);
      Tensor factor = at::ones_like(now);
      for (int64_t i = 0; i < 3; ++i) {
        factor = factor * three.select(1, i).pow(powers_[static_cast<size_t>(i)]);
      }
      factor = 1 + (factor - 1).atan();
      const Tensor stands = factor >= accept_;
      const Tensor shifted = at::stack({now, now, three.select(1, 1)}, 1);
      errors.index_copy_(0, active, at::where(stands.unsqueeze(1), shifted, three));
      h.index_copy_(0, active, length * factor);
      lambda.index_copy_(0, active, at::where(stands, to, from));
      const Tensor good = at::nonzero(stands).view({-1}), rows = there.index_select(0, good.to(there.device()));
      state.index_copy_(0, rows, high.index_select(0, good.to(x.device())));
      before.index_copy_(0, rows, low.index_select(0, good.to(x.device())));
    }
  }

 private:
  int order_;
  double rtol_, atol_, h_init_, accept_;
  std::array<double, 3> powers_;
};

RETORT_PLUGIN(DpmAdaptive, solver, dpm_adaptive)
