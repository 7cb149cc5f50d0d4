/// ER-SDE-Solver: steps of the extended reverse SDE, with any noise from none, the ODE, to more than the reverse SDE's.
///
/// A function phi(l) of the level l = sigma / alpha, whose psi = phi / l does not fall, says how much noise there is:
/// psi = 1 is the ODE, psi = l the reverse SDE. With q = psi_s / psi_t and r = q l_s / l_t,
///   x_s = sigma_s / sigma_t q x + alpha_s ((1 - r) D + c_1 D' + c_2 D'') + sigma_s sqrt(1 - q^2) s_noise z
///   c_1 = -int (1 - phi_s / phi) dl, c_2 = int (l_t - l) (1 - phi_s / phi) dl over [l_s, l_t]
/// with derivatives in l of the polynomial through the data predictions here and at one or two steps before (order 2
/// and 3). Early steps, and those out of alpha = 0 and into sigma = 0, have fewer. The mean of linear problems is of
/// that order, but for the first step; the variance, and so expectations, of order 2 at most.
///
/// The noise scales are psi = e^{-1/l} + 10 ("sde_1"), l^0.5 ("sde_2"), l^1.5 ("sde_3"), l^-0.1 log10(1 + 100 l^1.5),
/// constant beyond l = 1000 ("sde_4"), and e^{l^0.3} + 10 ("sde_5", the authors' choice).
/// The authors' code takes the integrals as sums over 100 points, which leaves an error of first order, and at order 3
/// puts the slope halfway to the step before for that here. derivatives = "authors" does the same.
/// Source: Cui et al. 2023 (arXiv 2309.06169) and its code; the VE and VP forms there are one in l.
///
///     [solver]
///     type = "er_sde"
///     order = 3                      # 1, 2 or 3
///     noise_scale = "sde_5"          # or "ode", "sde", "sde_1" to "sde_4"
///     derivatives = "exact"          # or "authors"
#include <retort/plugin.h>

#include <array>

#include "sde.h"

using namespace retort;

class ErSde final : public Solver {
 public:
  explicit ErSde(Params& p)
      : order_(static_cast<int>(p.get("order", 3, "data predictions that a step uses", between(1, 3)))),
        scale_(p.choice("noise_scale", "sde_5", {"ode", "sde", "sde_1", "sde_2", "sde_3", "sde_4", "sde_5"},
                        "how much noise there is at each level: the page above has the functions")),
        exact_(p.choice("derivatives", "exact", {"exact", "authors"},
                        "integrals and slopes: as the formula has them, or as the authors' code") == "exact"),
        s_noise_(p.get("s_noise", 1.0, "factor of the noise; the marginals are kept by 1 alone", at_least(0))) {}
  int order() const override { return std::min(order_, 2); }
  int evaluations() const override { return 1; }
  bool stochastic() const override { return scale_ != "ode"; }

  Tensor step(const Step& step, const Tensor& x) const override {
    const Tensor data = step.ode.data(x, step.from.t());
    const Tensor &from = step.from.noise_level(), &to = step.to.noise_level(), &alpha = step.to.alpha();
    const Tensor scale = psi(from);
    const Tensor q = at::where(scale.isfinite(), psi(to) / scale, at::zeros_like(scale)).clamp_max(1);
    // The weights of D, and of the predictions before.
    const Tensor weight = alpha * (1 - q * to / from);
    std::vector<Term> terms = {{step.to.sigma() / step.from.sigma() * q, x}, {weight, data}};
    History& history = step.history;
    if (order_ > 1 && history["data 1"].defined()) {
      differences(step, terms);
    }
    if (order_ > 2) {
      history["level 2"] = history["level 1"];
      history["data 2"] = history["data 1"];
    }
    if (order_ > 1) {
      history["level 1"] = from;
      history["data 1"] = data;
    }
    if (stochastic()) {
      const Tensor spread = step.to.sigma() * (1 - q.square()).sqrt();
      terms.push_back({s_noise_ * spread, step.noise.brownian(x, step.from, step.to)});
    }
    return combine(terms);
  }

 private:
  // phi / l
  Tensor psi(const Tensor& level) const {
    if (scale_ == "ode") {
      return at::ones_like(level);
    }
    if (scale_ == "sde_1") {
      return (-1 / level).exp() + 10;
    }
    if (scale_ == "sde_4") {
      const Tensor l = level.clamp_max(1000);
      return at::where(l > 0, l.pow(-0.1) * (1 + 100 * l.pow(1.5)).log10(), at::zeros_like(l));
    }
    if (scale_ == "sde_5") {
      return level.pow(0.3).exp() + 10;
    }
    return level.pow(scale_ == "sde" ? 1 : scale_ == "sde_2" ? 0.5 : 1.5);
  }

  struct Integrals {
    Tensor first, second;  // [B], c_1 and c_2
  };
  // Rows at one step of a grid, as most are, share theirs.
  Integrals integrals(const Tensor& from, const Tensor& to) const {
    if (from.size(0) > 1 && ((from == from[0]).logical_and(to == to[0])).all().item<bool>()) {
      const Integrals one = integrals_of_rows(from.narrow(0, 0, 1), to.narrow(0, 0, 1));
      return {one.first.expand_as(from), one.second.expand_as(from)};
    }
    return integrals_of_rows(from, to);
  }
  Integrals integrals_of_rows(const Tensor& from, const Tensor& to) const {
    const Tensor l0 = from.unsqueeze(1), l1 = to.unsqueeze(1), end = l1 * psi(l1);
    if (!exact_) {  // a sum from the lower end, at equal parts of l
      constexpr int points = 100;
      const Tensor l = l1 + at::arange(points, at::kDouble) / points * (l0 - l1);
      const Tensor ratio = end / (l * psi(l)) * (l0 - l1) / points;
      return {to - from + ratio.sum(1), 0.5 * (to - from).square() + (ratio * (l - l0)).sum(1)};
    }
    // Gauss-Legendre's rule of five nodes, in parts of log l.
    constexpr std::array<double, 5> node = {-0.9061798459386640, -0.5384693101056831, 0, 0.5384693101056831,
                                            0.9061798459386640};
    constexpr std::array<double, 5> share = {0.2369268850561891, 0.4786286704993665, 0.5688888888888889,
                                             0.4786286704993665, 0.2369268850561891};
    constexpr int parts = 16;
    std::vector<double> places, shares;
    for (int part = 0; part < parts; ++part) {
      for (size_t i = 0; i < node.size(); ++i) {
        places.push_back((part + 0.5 + 0.5 * node[i]) / parts);
        shares.push_back(0.5 * share[i] / parts);
      }
    }
    const Tensor span = (l0 / l1).log(), l = l1 * (at::tensor(places, at::kDouble) * span).exp();
    const Tensor part = (1 - end / (l * psi(l))) * l * span * at::tensor(shares, at::kDouble);
    return {-part.sum(1), ((l0 - l) * part).sum(1)};
  }

  // Adds alpha_s (c_1 D' + c_2 D'') to the terms, as weights of D (the second term), D_1 and D_2.
  void differences(const Step& step, std::vector<Term>& terms) const {
    History& history = step.history;
    const Tensor &l0 = step.from.noise_level(), &l1 = history["level 1"], none = at::zeros_like(l0);
    const Tensor two = (history.steps > 0)
                           .logical_and(l0.isfinite())
                           .logical_and(l1.isfinite())
                           .logical_and(step.to.noise_level() > 0);
    const Integrals c = integrals(at::where(two, l0, 2.0), at::where(two, step.to.noise_level(), 1.0));
    const Tensor a = at::where(two, step.to.alpha() * c.first, none), e = at::where(two, 1 / (l0 - l1), none);
    Tensor of_data = a * e, of_first = -a * e;
    if (order_ > 2 && history["data 2"].defined()) {
      const Tensor& l2 = history["level 2"];
      const Tensor three = two.logical_and(history.steps > 1).logical_and(l2.isfinite());
      const Tensor f = at::where(three, 1 / (l0 - l2), none), g = at::where(three, 1 / (l1 - l2), none);
      // D'' is twice the second difference; D' here is the slope from D_1 and that difference times l_0 - l_1.
      const Tensor lean = exact_ ? c.first * (l0 - l1) : none;
      const Tensor b = at::where(three, step.to.alpha() * (2 * c.second + lean), none) * f;
      of_data = of_data + b * e;
      of_first = of_first - b * (e + g);
      terms.push_back({b * g, history["data 2"]});
    }
    terms[1].coefficient = terms[1].coefficient + of_data;
    terms.push_back({of_first, history["data 1"]});
  }

  int order_;
  std::string scale_;
  bool exact_;
  double s_noise_;
};

RETORT_PLUGIN(ErSde, solver, er_sde)
