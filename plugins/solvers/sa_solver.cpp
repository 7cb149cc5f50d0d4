/// SA-Solver: stochastic Adams methods, a predictor and a corrector that share one evaluation and one noise.
///
/// It solves the SDE of `dpmpp_2m_sde` with eta = tau^2. The predictor puts a polynomial through the data predictions
/// at the last predictor_order times. The corrector takes that at the predicted state in besides, with the same noise,
/// and hands it to the next step. The last step has no corrector. Early steps, steps out of alpha = 0 and into sigma =
/// 0, and with lower_order_final the last ones, use fewer.
///
/// tau holds for steps that end at a noise level sigma / alpha within [s_tmin, s_tmax]; elsewhere it is 0. Expectations
/// are of order 2 at most: the variance is. tau = 0, predictor_order = p and corrector_order = p + 1 are UniPC's
/// predictor and corrector of order p with B(h) = h.
/// Source: Xue et al. 2023 (arXiv 2309.05019), eq. 15 and 18; `rescaled` is its appendix D, for two predictions.
///
///     [solver]
///     type = "sa_solver"
///     predictor_order = 3            # 1 to 4
///     corrector_order = 4            # 2 to 4 predictions, that at the end counted; 0: none
///     tau = 1.0
///     s_tmin = 0.0
///     s_tmax = 1e9                   # beyond any level
///     rescaled = true
#include "sde_multistep.h"

using namespace retort;

class SaSolver final : public SdeMultistep {
 public:
  explicit SaSolver(Params& p)
      : SdeMultistep(1, 0, 1),
        predictor_(static_cast<int>(p.get("predictor_order", 3, "predictions that the predictor uses", between(1, 4)))),
        corrector_(static_cast<int>(
            p.get("corrector_order", 4, "predictions that the corrector uses, that at the end counted; 0: no corrector",
                  between(0, 4)))) {
    if (corrector_ == 1) {
      throw p.error("corrector_order", "1 leaves the prediction at the end alone; expected 2 to 4, or 0 for none");
    }
    most_ = std::max(predictor_, corrector_ - 1);
    const double tau = p.get("tau", 1.0, "its square is how often the noise of the reverse SDE counts", at_least(0));
    power_ = tau * tau;
    least_ = p.get("s_tmin", 0.0, "least noise level sigma / alpha at a step's end with that tau", at_least(0));
    greatest_ = p.get("s_tmax", 1e9, "greatest noise level sigma / alpha at a step's end with that tau", at_least(0));
    if (greatest_ < least_) {
      throw p.error("s_tmax", "below s_tmin; expected at least that");
    }
    rescaled_ = p.get("rescaled", true, "two predictions: weigh the difference by 1/2, whatever the step");
    lower_order_final_ = p.get("lower_order_final", true, "lower the orders towards the end of the grid");
  }
  int order() const override { return std::min(std::max(predictor_, corrector_), 2); }

  Tensor step(const Step& step, const Tensor& x) const override {
    History& history = step.history;
    const Tensor data = history.take("data", [&](const Tensor& i) {
      return step.ode.rows(i).data(x.index_select(0, i.to(x.device())), step.from.t().index_select(0, i));
    });
    const Tensor& level = step.to.noise_level();
    const Tensor within = (level >= least_).logical_and(level <= greatest_);
    const Tensor eta = power_ * within.to(at::kDouble);
    const Tensor z = stochastic() && within.any().item<bool>() ? draw(step, x) : Tensor();

    const Predictions all = recall(step, data);
    remember(history, all);
    const int64_t left = lower_order_final_ ? step.remaining : most_;
    const Predictions before = first(all, std::min<int64_t>(predictor_, left));
    const Interval interval(step, eta, static_cast<size_t>(std::max(predictor_, corrector_)));
    const Tensor predicted = advance(step, interval, x, before, z);
    if (corrector_ == 0 || step.remaining == 1) {
      return predicted;
    }
    Predictions known = first(all, std::min<int64_t>(corrector_ - 1, left));
    const Tensor there = history["data"] = step.ode.data(predicted, step.to.t());
    // No corrector where the step is infinite: out of alpha = 0, or into sigma = 0.
    const Tensor finite = step.from.lambda().isfinite().logical_and(step.to.lambda().isfinite());
    known.lambdas.insert(known.lambdas.begin(), step.to.lambda());
    known.values.insert(known.values.begin(), there);
    known.count = known.count + 1;
    const Tensor corrected = advance(step, interval, x, known, z);
    return finite.all().item<bool>() ? corrected : at::where(rows(finite.to(at::kDouble), x) > 0, corrected, predicted);
  }

 private:
  void moments(int count, double* m) const override {
    if (count == 2 && rescaled_) {
      m[1] = 0.5;
    }
  }

  static Predictions first(const Predictions& all, int64_t most) {
    const auto n = std::min(static_cast<std::ptrdiff_t>(most), static_cast<std::ptrdiff_t>(all.values.size()));
    return {{all.lambdas.begin(), all.lambdas.begin() + n},
            {all.values.begin(), all.values.begin() + n},
            all.count.clamp_max(n)};
  }

  int predictor_, corrector_;
  double least_ = 0, greatest_ = 0;
  bool rescaled_ = true, lower_order_final_ = true;
};

RETORT_PLUGIN(SaSolver, solver, sa_solver)
