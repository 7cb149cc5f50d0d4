/// Linear multistep methods: a step from the prediction here and at the steps before.
///
/// Between t and s the ODE is solved exactly but for an integral of a prediction F over a coordinate q. With r = (q -
/// q_t) / (q_s - q_t) and h = lambda_s - lambda_t, lambda = log(alpha / sigma), that is one of
///   data_in_lambda    x_s = sigma_s / sigma_t x + alpha_s h int_0^1 e^{-(1-r) h} D dr          q = lambda
///   noise_in_lambda   x_s = alpha_s / alpha_t x - sigma_s h int_0^1 e^{(1-r) h} eps dr         q = lambda
///   noise_in_sigma    x_s = alpha_s / alpha_t x + alpha_s (q_s - q_t) int_0^1 eps dr           q = sigma / alpha
/// A method puts sum_j w_j F_j in place of the integral. The weights that are exact for polynomials solve sum_j w_j
/// r_j^k = m_k, the integral of r^k: k! phi_{k+1}(z), z = -h, h or 0 (Norsett 1969; Hochbruck & Ostermann 2010, section
/// 2.5). With one value each is DDIM, which also is the step out of alpha = 0 and into sigma = 0.
///
/// Early steps have fewer values. Steps of rising order from DDIM hold the whole at order 2. A full start is as exact
/// as the steps that follow: the evaluation at the end of an early step, which the next step needs anyway, enters the
/// weights and raises the order by one, as in UniPC (Zhao et al. 2023). Order 4 besides needs a first step of order 3
/// by itself, which costs two evaluations more, once per row. `lower_order_final` lowers the order to 2
/// and 1 in the last two steps, as diffusers does over few, and holds the whole at order 2.
#pragma once

#include <retort/exponential.h>
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "multistep_weights.h"

namespace retort {

enum class Integral { data_in_lambda, noise_in_lambda, noise_in_sigma };

/// How a solve begins and ends.
struct Ends {
  bool full_start = false, lower_order_final = false;
};

/// A solver of that kind. Each row has its own number of steps behind it, and so its own weights.
class Multistep : public Solver {
 public:
  int order() const override { return ends_.full_start && !ends_.lower_order_final ? order_ : std::min(order_, 2); }
  int evaluations() const override { return 1; }

  Tensor step(const Step& step, const Tensor& x) const override {
    History& history = step.history;
    const Tensor lambda = step.from.lambda(), h = step.to.lambda() - lambda;
    Values values = {{lambda}, {here(step, x)}};
    // How many values a row has that it can use: this one, and those of its steps since it left alpha = 0.
    const Tensor inside = h.isfinite().logical_and(lambda.isfinite());
    Tensor usable = integral_ == Integral::noise_in_sigma ? lambda.isfinite() : inside;
    Tensor known = at::ones_like(history.steps);
    for (int64_t i = 1; i < order_ && history["value " + std::to_string(i)].defined(); ++i) {
      values.lambdas.push_back(history["lambda " + std::to_string(i)]);
      values.predictions.push_back(history["value " + std::to_string(i)]);
      usable = usable.logical_and(history.steps >= i).logical_and(values.lambdas.back().isfinite());
      known = known + usable.to(at::kLong);
    }
    const Tensor count = ends_.lower_order_final ? known.clamp_max(step.remaining) : known;
    Tensor next = advance(step.from, step.to, x, values, count);
    if (ends_.full_start && step.remaining > 1) {
      const Tensor early = inside.logical_and(known <= corrected_);
      const Tensor alone = (known == 1).logical_and(at::full_like(early, corrected_ == 2));
      const Tensor first = at::nonzero(early.logical_and(alone)).view({-1});
      const Tensor index = at::nonzero(early.logical_and(alone.logical_not())).view({-1});
      if (first.numel() > 0) {
        next.index_copy_(0, first.to(x.device()), third_order(part(step, x, values, count, first)));
      }
      if (index.numel() > 0) {
        const Tensor there = index.to(x.device());
        const Part rows = part(step, x, values, count, index);
        const Tensor end = predict(rows.ode, rows.to, next.index_select(0, there));
        next.index_copy_(0, there, corrected(rows, end));
        if (reuse_) {
          history["next"] = at::zeros_like(x).index_copy_(0, there, end);
          history["known"] = at::zeros_like(history.steps).index_fill_(0, index, 1);
        }
      }
    }
    push(history, lambda, values.predictions[0]);
    return next;
  }

 protected:
  Multistep(Integral integral, int order, Ends ends = {}) : integral_(integral), order_(order), ends_(ends) {}
  /// With keys for the order, from 1 to 4, and for the ends.
  Multistep(Params& p, Integral integral, int order)
      : integral_(integral),
        order_(read_order(p, order, "order of the method: how many predictions a step uses")),
        ends_(read_ends(p)) {}
  /// Of whose early steps the first alone is corrected; without `reuse` the next step evaluates anew.
  struct CorrectFirst {
    bool reuse;
  };
  Multistep(Integral integral, int order, CorrectFirst first)
      : integral_(integral), order_(order), ends_{true, false}, corrected_(1), reuse_(first.reuse) {}

  static int read_order(Params& p, int order, const char* doc) {
    return static_cast<int>(p.get("order", order, doc, between(1, most_values)));
  }
  static Ends read_ends(Params& p) {
    const std::string start = p.choice(
        "start", "full", {"ddim", "full"},
        "early steps: of rising order from DDIM, which holds the whole at order 2; or as exact as the rest, for "
        "two evaluations more, once per row, where the order is 4");
    return {start == "full", p.get("lower_order_final", false, "lower the order towards the end of the grid, to 1")};
  }

  /// The weights of values at r: r[0] = 0, the others before it; m: the integrals of r^k. The page above has them.
  virtual void weights(int count, const double* r, const double* m, double* w) const { solve_moments(count, r, m, w); }

 private:
  // Predictions and where they were made, the last one first.
  struct Values {
    std::vector<Tensor> lambdas;      // [B] each
    std::vector<Tensor> predictions;  // [B, …] each

    Values select(const Tensor& index) const {
      Values out;
      for (size_t i = 0; i < lambdas.size(); ++i) {
        out.lambdas.push_back(lambdas[i].index_select(0, index));
        out.predictions.push_back(predictions[i].index_select(0, index.to(predictions[i].device())));
      }
      return out;
    }
  };

  // Some rows of a step.
  struct Part {
    Ode ode;
    Times from, to;
    Tensor x;
    Values values;
    Tensor count;
  };

  Part part(const Step& step, const Tensor& x, const Values& values, const Tensor& count, const Tensor& index) const {
    return {step.ode.rows(index),  step.from.select(index),
            step.to.select(index), x.index_select(0, index.to(x.device())),
            values.select(index),  count.index_select(0, index)};
  }

  // D or eps. Where alpha = 0, D stands for eps too, which leaves nothing of it there.
  Tensor predict(const Ode& ode, const Times& at, const Tensor& x) const {
    if (integral_ == Integral::data_in_lambda) {
      return ode.data(x, at.t());
    }
    const Tensor inside = at.alpha() > 0;
    if (inside.all().item<bool>()) {
      return ode.noise(x, at.t());
    }
    const Ode::Prediction both = ode.predict(x, at.t());
    return at::where(retort::rows(inside.to(at::kDouble), x) > 0, both.noise, both.data);
  }

  // The prediction at x; where the step before was corrected, it has made it.
  Tensor here(const Step& step, const Tensor& x) const {
    const Tensor known = std::exchange(step.history["known"], Tensor());
    const Tensor left = std::exchange(step.history["next"], Tensor());
    if (!left.defined()) {
      return predict(step.ode, step.from, x);
    }
    const Tensor index = at::nonzero(known == 0).view({-1});
    if (index.numel() == 0) {
      return left;
    }
    const Tensor there = index.to(x.device());
    return left.index_copy(0, there, predict(step.ode.rows(index), step.from.select(index), x.index_select(0, there)));
  }

  // x moved by the first `count` values of each row; with `exact`, by the weights that are exact for polynomials.
  Tensor advance(const Times& from, const Times& to, const Tensor& x, const Values& values, const Tensor& count,
                 bool exact = false) const {
    const Tensor h = to.lambda() - from.lambda();
    const bool is_data = integral_ == Integral::data_in_lambda, in_sigma = integral_ == Integral::noise_in_sigma;
    const auto place = [&](const Tensor& lambda) { return in_sigma ? lambda.neg().exp() : lambda; };
    const Tensor begin = place(from.lambda()), length = place(to.lambda()) - begin;
    const Tensor z = in_sigma ? at::zeros_like(h) : is_data ? -h : h;
    std::vector<Tensor> nodes, moments;
    for (const Tensor& lambda : values.lambdas) {
      nodes.push_back((place(lambda) - begin) / length);
    }
    double factorial = 1;
    for (int k = 0; k < most_values; ++k) {
      factorial *= std::max(k, 1);
      moments.push_back(factorial * phi(k + 1, z));
    }
    const Tensor r = at::stack(nodes, 1), m = at::stack(moments, 1), w = at::zeros_like(r);
    const auto line = [](const Tensor& table, int64_t i) { return table.const_data_ptr<double>() + i * table.size(1); };
    for (int64_t i = 0; i < r.size(0); ++i) {
      const auto n = static_cast<int>(count.const_data_ptr<int64_t>()[i]);
      double* const out = w.mutable_data_ptr<double>() + i * w.size(1);
      exact ? solve_moments(n, line(r, i), line(m, i), out) : weights(n, line(r, i), line(m, i), out);
    }
    // A single value is DDIM, spelled so that it is finite at both ends.
    const Tensor one = count == 1, by_data = is_data ? at::ones_like(one) : from.alpha() == 0;
    const Tensor data_ratio = to.sigma() / from.sigma(), noise_ratio = to.alpha() / from.alpha();
    const Tensor ddim =
        at::where(by_data, to.alpha() - from.alpha() * data_ratio, to.sigma() - from.sigma() * noise_ratio);
    const Tensor scale = is_data ? to.alpha() * h : in_sigma ? to.alpha() * length : -to.sigma() * h;
    std::vector<Term> terms = {{at::where(by_data, data_ratio, noise_ratio), x}};
    for (int64_t j = 0; j < r.size(1); ++j) {
      const Tensor single = j == 0 ? ddim : at::zeros_like(h);
      terms.push_back({at::where(one, single, scale * w.select(1, j)), values.predictions[static_cast<size_t>(j)]});
    }
    return combine(terms);
  }

  // With the prediction at the end among the values.
  Tensor corrected(const Part& part, const Tensor& end) const {
    Values all = part.values;
    all.lambdas.insert(all.lambdas.begin(), part.to.lambda());
    all.predictions.insert(all.predictions.begin(), end);
    return advance(part.from, part.to, part.x, all, part.count + 1, true);
  }

  // A step of order 3 by itself: Radau's nodes 0 and 2/3, the second reached over 1/3.
  Tensor third_order(const Part& part) const {
    const Tensor h = part.to.lambda() - part.from.lambda(), pair = at::full_like(part.count, 2);
    Values values = {{part.values.lambdas[0]}, {part.values.predictions[0]}};
    for (const double place : {1.0 / 3, 2.0 / 3}) {
      const Times inner(part.ode.process(), part.ode.process().time(part.from.lambda() + place * h));
      const Tensor x = advance(part.from, inner, part.x, values, place < 0.5 ? part.count : pair, true);
      values = {{inner.lambda(), part.values.lambdas[0]}, {predict(part.ode, inner, x), part.values.predictions[0]}};
    }
    return advance(part.from, part.to, part.x, values, pair, true);
  }

  void push(History& history, const Tensor& lambda, const Tensor& prediction) const {
    for (int64_t i = order_ - 1; i > 0; --i) {
      const std::string to = std::to_string(i), from = std::to_string(i - 1);
      history["lambda " + to] = i == 1 ? lambda : history["lambda " + from];
      history["value " + to] = i == 1 ? prediction : history["value " + from];
    }
  }

  Integral integral_;
  int order_;
  Ends ends_;
  int corrected_ = order_ - 2;  // how many steps are early
  bool reuse_ = true;
};

}  // namespace retort
