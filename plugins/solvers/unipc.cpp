/// UniPC: a multistep predictor and a corrector that share one evaluation of the teacher.
///
/// With lambda = log(alpha / sigma), h = lambda_s - lambda_t and data predictions D_0 (now), D_1, D_2 (steps before),
/// the predictor of order p is DDIM's step - alpha_s B(h) sum_i rho_i (D_i - D_0) / r_i, r_i = (lambda_i - lambda_t) /
/// h. The corrector adds D at the predicted state with r_p = 1, which raises the order by one, and hands it to the next
/// step as its D_0. So a step costs one evaluation, and the last has no corrector. Early steps, steps out of pure noise
/// and into sigma = 0, and with lower_order_final the last ones, are of lower order. Source: Zhao et al. 2023 (arXiv
/// 2302.04867), algorithms 1 to 3; B_1(h) = h, B_2(h) = e^h - 1.
///
///     [solver]
///     type = "unipc"
///     order = 2                      # 1, 2 or 3
///     variant = "bh2"                # or "bh1"
///     corrector = true
#include <retort/exponential.h>
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

using namespace retort;

class UniPc final : public Solver {
 public:
  explicit UniPc(Params& p)
      : order_(static_cast<int>(p.get("order", 2, "order of the predictor", between(1, 3)))),
        variant_(p.choice("variant", "bh2", {"bh1", "bh2"}, "B(h) = h, or e^h - 1")),
        corrector_(p.get("corrector", true, "correct each step but the last, which raises the order by one")),
        lower_order_final_(p.get("lower_order_final", true, "lower the order towards the end of the grid")) {}
  // A first step of order 1 holds the whole at 2, and at 3 with the corrector; so does a last one, which has none.
  int order() const override {
    const int free = std::min(order_, 2) + (corrector_ ? 1 : 0);
    return lower_order_final_ ? std::min(free, 2) : free;
  }
  int evaluations() const override { return 1; }

  Tensor step(const Step& step, const Tensor& x) const override {
    History& history = step.history;
    const Tensor lambda = step.from.lambda(), h = step.to.lambda() - lambda;
    const Tensor data = history.take("data", [&](const Tensor& i) {
      return step.ode.rows(i).data(x.index_select(0, i.to(x.device())), step.from.t().index_select(0, i));
    });
    // The orders that the rows' own histories allow.
    int64_t most = lower_order_final_ ? std::min<int64_t>(order_, step.remaining) : order_;
    Tensor order = (history.steps + 1).clamp_max(most);
    order = at::where(h.isfinite().logical_and(lambda.isfinite()), order, at::ones_like(order));
    std::vector<Tensor> before, ratios;  // D_i and r_i of the steps behind
    for (int64_t i = 1; i < order_ && history["data " + std::to_string(i)].defined(); ++i) {
      before.push_back(history["data " + std::to_string(i)]);
      ratios.push_back((history["lambda " + std::to_string(i)] - lambda) / h);
      order = at::where(ratios.back().isfinite(), order, order.clamp_max(i));
    }
    const Tensor predicted = advance(step, x, data, before, weights(order, order - 1, ratios, h), {});
    push(history, data, lambda);
    if (!corrector_ || step.remaining == 1) {
      return predicted;
    }
    const Tensor there = step.ode.data(predicted, step.to.t());
    const Tensor count = at::where(h.isfinite(), order, at::zeros_like(order));
    const Tensor corrected = advance(step, x, data, before, weights(order, count, ratios, h), there);
    history["data"] = there;
    return corrected;
  }

 private:
  // rho_i / r_i for the first `count` differences of each row, [B, order_], zero beyond; D at the end counts as the
  // one of r = 1 that stands last among a row's `order`.
  Tensor weights(const Tensor& order, const Tensor& count, const std::vector<Tensor>& ratios, const Tensor& h) const {
    const Tensor out = at::zeros({h.size(0), order_}, at::kDouble);
    for (int64_t p = 1; p <= order_; ++p) {
      for (int64_t n = std::max<int64_t>(p - 1, 1); n <= p; ++n) {
        const Tensor rows = at::nonzero((order == p).logical_and(count == n)).view({-1});
        if (rows.numel() > 0) {
          out.index_put_({rows}, solved(p, n, rows, ratios, h));
        }
      }
    }
    return out;
  }

  Tensor solved(int64_t p, int64_t n, const Tensor& rows, const std::vector<Tensor>& ratios, const Tensor& h) const {
    const Tensor minus_h = -h.index_select(0, rows);
    const Tensor b_of_h = variant_ == "bh1" ? minus_h : minus_h.expm1();
    std::vector<Tensor> r;
    for (int64_t i = 0; i < n; ++i) {
      r.push_back(i + 1 < p ? ratios[static_cast<size_t>(i)].index_select(0, rows) : at::ones_like(minus_h));
    }
    const Tensor nodes = at::stack(r, 1);  // [b, n]
    Tensor rho = at::full_like(nodes, 0.5);
    if (n > 1) {  // one difference: 1/2 for any h, as the paper's code has it
      std::vector<Tensor> powers, right;
      double factorial = 1;
      for (int64_t j = 0; j < n; ++j) {
        factorial *= static_cast<double>(j + 1);
        powers.push_back(nodes.pow(j));
        right.push_back(minus_h * phi(static_cast<int>(j) + 2, minus_h) * factorial / b_of_h);
      }
      rho = at::linalg_solve(at::stack(powers, 1), at::stack(right, 1));
    }
    const Tensor out = at::zeros({rows.size(0), order_}, at::kDouble);
    // The difference with the end stands in the last column.
    const Tensor scaled = rho / nodes * b_of_h.unsqueeze(1);
    for (int64_t i = 0; i < n; ++i) {
      out.select(1, i + 1 < p ? i : order_ - 1).copy_(scaled.select(1, i));
    }
    return out;
  }

  // DDIM's step - alpha_s sum_i w_i (D_i - D_0), in one pass.
  Tensor advance(const Step& step, const Tensor& x, const Tensor& data, const std::vector<Tensor>& before,
                 const Tensor& w, const Tensor& there) const {
    const Tensor ratio = step.to.sigma() / step.from.sigma(), alpha = step.to.alpha();
    std::vector<Term> terms = {{ratio, x}, {alpha - step.from.alpha() * ratio + alpha * w.sum(1), data}};
    for (size_t i = 0; i < before.size(); ++i) {
      terms.push_back({-alpha * w.select(1, static_cast<int64_t>(i)), before[i]});
    }
    if (there.defined()) {
      terms.push_back({-alpha * w.select(1, order_ - 1), there});
    }
    return combine(terms);
  }

  void push(History& history, const Tensor& data, const Tensor& lambda) const {
    for (int64_t i = order_ - 1; i > 1; --i) {
      history["data " + std::to_string(i)] = history["data " + std::to_string(i - 1)];
      history["lambda " + std::to_string(i)] = history["lambda " + std::to_string(i - 1)];
    }
    if (order_ > 1) {
      history["data 1"] = data;
      history["lambda 1"] = lambda;
    }
  }

  int order_;
  std::string variant_;
  bool corrector_, lower_order_final_;
};

RETORT_PLUGIN(UniPc, solver, unipc)
