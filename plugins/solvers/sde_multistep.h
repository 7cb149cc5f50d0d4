/// Multistep methods for the reverse SDE: steps from data predictions here and at the steps before.
///
/// Between t and s, with lambda = log(alpha / sigma), h = lambda_s - lambda_t, H = (1 + eta) h and r = (lambda -
/// lambda_t) / h, the SDE whose noise counts eta times (sde.h) is solved exactly but for an integral of D:
///   x_s = sigma_s / sigma_t e^{-eta h} x + alpha_s H int_0^1 e^{-(1-r) H} D dr + sigma_s sqrt(1 - e^{-2 eta h}) z
/// A method puts sum_j w_j D_j in place of the integral. Weights that are exact for polynomials solve sum_j w_j r_j^k =
/// m_k with m_k = k! phi_{k+1}(-H) (Xue et al. 2023, arXiv 2309.05019, eq. 15 and 18).
///
/// The mean of linear problems is of the order of the ODE's method. The variance is of order 2 with any number of
/// values above one: D moves with the noise of steps before where it should move with that of this one.
#pragma once

#include <array>
#include <string>

#include "multistep.h"
#include "sde.h"

namespace retort {

class SdeMultistep : public Solver {
 public:
  int order() const override { return std::min(most_, 2); }
  int evaluations() const override { return 1; }
  bool stochastic() const override { return power_ > 0; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Tensor data = step.ode.data(x, step.from.t());
    const Predictions known = recall(step, data);
    remember(step.history, known);
    const Interval interval(step, at::full_like(step.from.lambda(), power_), known.values.size());
    return advance(step, interval, x, known, draw(step, x));
  }

 protected:
  /// most: how many predictions a step uses; eta: how often the noise counts; s_noise: what it is multiplied by.
  SdeMultistep(int most, double eta, double s_noise) : most_(most), power_(eta), s_noise_(s_noise) {}

  static double read_eta(Params& p) {
    return p.get("eta", 1.0, "how often the noise of the reverse SDE counts; 0: none, the ODE", at_least(0));
  }
  static double read_s_noise(Params& p) {
    return p.get("s_noise", 1.0, "factor of the noise; the marginals are kept by 1 alone", at_least(0));
  }

  /// m: the integrals of r^k as above, for k < count. A method may have others.
  virtual void moments(int count, double* m) const = 0;

  /// Data predictions and where they were made, the last one first, and how many of them a row can use.
  struct Predictions {
    std::vector<Tensor> lambdas;  // [B] each
    std::vector<Tensor> values;   // [B, …] each
    Tensor count;                 // [B] int64
  };

  /// The one here, and those of a row's steps since it left alpha = 0. Into sigma = 0 a row uses one.
  Predictions recall(const Step& step, const Tensor& data) const {
    History& history = step.history;
    const Tensor& lambda = step.from.lambda();
    Predictions out{{lambda}, {data}, at::ones_like(history.steps)};
    Tensor usable = lambda.isfinite().logical_and(step.to.lambda().isfinite());
    for (int64_t i = 1; i < most_ && history["data " + std::to_string(i)].defined(); ++i) {
      out.lambdas.push_back(history["lambda " + std::to_string(i)]);
      out.values.push_back(history["data " + std::to_string(i)]);
      usable = usable.logical_and(history.steps >= i).logical_and(out.lambdas.back().isfinite());
      out.count = out.count + usable.to(at::kLong);
    }
    return out;
  }

  void remember(History& history, const Predictions& known) const {
    for (size_t i = 0; i < known.values.size() && static_cast<int>(i) + 1 < most_; ++i) {
      history["lambda " + std::to_string(i + 1)] = known.lambdas[i];
      history["data " + std::to_string(i + 1)] = known.values[i];
    }
  }

  /// The noise of a step; undefined where there is none.
  Tensor draw(const Step& step, const Tensor& x) const {
    return stochastic() ? step.noise.brownian(x, step.from, step.to, power_) : Tensor();
  }

  /// What all moves over a step share. eta: [B]
  struct Interval {
    Interval(const Step& step, const Tensor& eta, size_t most)
        : sde(step.from, step.to, eta), h(step.to.lambda() - step.from.lambda()), scale(step.to.alpha() * sde.length) {
      std::vector<Tensor> all;
      double factorial = 1;
      for (size_t k = 0; k < most; ++k) {
        factorial *= std::max(static_cast<double>(k), 1.0);
        all.push_back(factorial * phi(static_cast<int>(k) + 1, -sde.length));
      }
      integrals = at::stack(all, 1);
    }
    ReverseSde sde;
    Tensor h;          // [B]
    Tensor scale;      // [B], alpha_s H
    Tensor integrals;  // [B, most], of r^k
  };

  /// x moved by the first `count` predictions of each row.
  Tensor advance(const Step& step, const Interval& interval, const Tensor& x, const Predictions& known,
                 const Tensor& z) const {
    const ReverseSde& sde = interval.sde;
    std::vector<Tensor> nodes;
    for (const Tensor& lambda : known.lambdas) {
      nodes.push_back((lambda - step.from.lambda()) / interval.h);
    }
    const Tensor w = weights(known.count, at::stack(nodes, 1), interval.integrals);
    // With one value the length may be infinite.
    const Tensor all = w * at::where(known.count == 1, sde.data, interval.scale).unsqueeze(1);
    std::vector<Term> terms = {{sde.x, x}};
    for (size_t j = 0; j < known.values.size(); ++j) {
      terms.push_back({all.select(1, static_cast<int64_t>(j)), known.values[j]});
    }
    if (z.defined()) {
      terms.push_back({s_noise_ * sde.noise, z});
    }
    return combine(terms);
  }

  // w: [B, n], of the first `count` values at r: [B, n]. integrals: [B, n or more]. A single value has 1.
  Tensor weights(const Tensor& count, const Tensor& r, const Tensor& integrals) const {
    const Tensor w = at::zeros_like(r);
    const int64_t columns = r.size(1);
    std::array<double, most_values> m{};
    for (int64_t row = 0; row < r.size(0); ++row) {
      const int n = static_cast<int>(count.const_data_ptr<int64_t>()[row]);
      double* const own = w.mutable_data_ptr<double>() + row * columns;
      if (n == 1) {
        own[0] = 1;
        continue;
      }
      std::copy_n(integrals.const_data_ptr<double>() + row * integrals.size(1), n, m.begin());
      moments(n, m.data());
      solve_moments(n, r.const_data_ptr<double>() + row * columns, m.data(), own);
    }
    return w;
  }

  int most_;
  double power_;  // eta, where any noise is drawn
  double s_noise_;
};

}  // namespace retort
