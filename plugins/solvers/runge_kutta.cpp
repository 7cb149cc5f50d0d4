/// Any Runge-Kutta method, by the name of its tableau or from a tableau in TOML.
///
/// A tableau of numbers steps in the `coordinate`: x_i = x + h sum_j a_ij k_j at c_i, then x + h sum_i b_i k_i. One
/// with phi functions is an exponential method: it solves the linear part of the ODE over lambda = log(alpha / sigma)
/// exactly, and expands the data prediction (`formulation` "data", as DPM-Solver++ does) or the noise prediction
/// ("noise", DPM-Solver). `lawson` makes an exponential method of any tableau of numbers. An implicit method is solved
/// by fixed-point iteration, a fixed number of times, which makes an explicit one of it: by default as often as the
/// order needs. A pair, with `embedded` weights, can adapt its steps. The order is derived from the tableau, by the
/// order conditions of rooted trees; a method of order 0 is refused. Steps out of alpha = 0 and into sigma = 0 are
/// DDIM's, but with coordinate = "angle" or "time".
///
/// A tableau of one's own: each row of a is a text of coefficients with commas between, of numbers, + - * / ^, sqrt,
/// the nodes c1, c2 … and phi0 … phi8, where phi2 is phi_2(z) and phi2(c3) is phi_2(c3 z). `*` stands for what makes
/// the row's sum right. Without c the rows' sums are the nodes. So a = ["", "*"], b = "*, phi2/c2", c = "0, 1/2" is
/// res_2s.
/// Source: Hairer, Norsett & Wanner 1993, II.1; Hochbruck
/// & Ostermann 2010 (Acta Numerica 19), section 2; each tableau's own stands in sdk/src/tableau/table.cpp.
///
///     [solver]
///     type = "runge_kutta"
///     tableau = "bogacki_shampine_3"
///     coordinate = "angle"           # or "sigma", "lambda", "time"
///     adaptive = false
#include <retort/plugin.h>
#include <retort/runge_kutta.h>

#include <optional>

#include "adaptive.h"

using namespace retort;

namespace {

struct Settings {
  Tableau tableau;
  Coordinate coordinate;
  Formulation formulation;
  std::optional<Adaptive> adaptive;
};

Tableau read_own_or_named(Params& p) {
  const std::string name = p.choice("tableau", "rk4", tableau_names(), "one of those that come along");
  const TableauText own = {
      p.get("a", std::vector<std::string>{}, "one's own: a row for each stage, \"\" for the first"),
      p.get("b", "", "its weights"), p.get("c", "", "its nodes; empty: the rows' sums"),
      p.get("embedded", "", "weights of the method within, of lower order; empty: none")};
  if (own.a.empty()) {
    for (const char* other : {"b", "c", "embedded"}) {
      if (p.given(other)) {
        throw p.error(other, "belongs to a tableau of one's own; expected the key a beside it");
      }
    }
    return tableau(name);
  }
  if (p.given("tableau")) {
    throw p.error("tableau", "a tableau stands in a, b and c already; expected one or the other");
  }
  try {
    return read_tableau(own);
  } catch (const Error& e) {
    throw p.error("a", e.what());
  }
}

// Each iteration gains one order, until the method's own is reached.
int enough(const Tableau& tableau) {
  int iterations = 1;
  while (iterations < tableau.order + 1 && iterated(tableau, iterations).order < tableau.order) {
    ++iterations;
  }
  return iterations;
}

Settings read(Params& p) {
  Tableau tableau = read_own_or_named(p);
  const char* const key = p.given("a") ? "a" : "tableau";
  const int iterations = static_cast<int>(
      p.get("iterations", 0, "implicit tableaux: how often a stage is iterated; 0: as often as the order needs",
            between(0, 100)));
  const bool by_lawson = p.get("lawson", false, "solve the linear part exactly, as Lawson's methods do");
  const Coordinate coordinate = read_coordinate(p, "coordinate", "sigma");
  const bool of_data = p.choice("formulation", "data", {"data", "noise"},
                                "exponential tableaux: the prediction that is expanded") == "data";
  const bool adapts = p.get("adaptive", false, "adapt the steps between grid times to rtol and atol; needs a pair");

  if (tableau.is_explicit()) {
    if (p.given("iterations")) {
      throw p.error("iterations", "the tableau is explicit; expected no such key");
    }
  } else if (by_lawson || tableau.exponential()) {
    throw p.error(key, "is implicit and exponential; expected an explicit one where phi functions stand in it");
  } else {
    tableau = iterated(tableau, iterations > 0 ? iterations : enough(tableau));
  }
  if (by_lawson) {
    if (tableau.exponential()) {
      throw p.error("lawson", "the tableau is exponential already; expected one of numbers");
    }
    tableau = lawson(tableau);
  }
  const Adaptive adaptive(p, tableau, 1e-3);
  if (tableau.order < 1) {
    throw p.error(
        key, "is of order 0; expected weights b that sum to 1, and rows of a that sum to their nodes c (at z = 0)");
  }
  if (tableau.exponential()) {
    if (p.given("coordinate") && coordinate != Coordinate::lambda) {
      throw p.error("coordinate", "an exponential method steps in lambda; expected \"lambda\", or no such key");
    }
  } else if (p.given("formulation")) {
    throw p.error("formulation", "the tableau is one of numbers; expected no such key");
  }
  if (adapts) {
    if (tableau.embedded.empty() || tableau.exponential()) {
      throw p.error("adaptive", "needs a pair of numbers, such as \"dormand_prince_5\"; this tableau has none within");
    }
    if (p.given("coordinate") && coordinate != Coordinate::angle) {
      throw p.error("coordinate", "adaptive steps go over the angle; expected \"angle\", or no such key");
    }
  }
  const Coordinate own = tableau.exponential() ? Coordinate::lambda : adapts ? Coordinate::angle : coordinate;
  return {std::move(tableau), own, of_data ? Formulation::data : Formulation::noise,
          adapts ? std::optional(adaptive) : std::nullopt};
}

}  // namespace

class RungeKuttaByTableau final : public RungeKutta {
 public:
  explicit RungeKuttaByTableau(Params& p) : RungeKuttaByTableau(read(p)) {}
  int evaluations() const override { return adaptive_ ? 0 : RungeKutta::evaluations(); }

  Tensor step(const Step& step, const Tensor& x) const override {
    if (adaptive_) {
      return adaptive_->run(step, x);
    }
    return method().exponential() ? exponential_runge_kutta(step, x, formulation_, method())
                                  : RungeKutta::step(step, x);
  }

 private:
  explicit RungeKuttaByTableau(Settings settings)
      : RungeKutta(std::move(settings.tableau), settings.coordinate),
        formulation_(settings.formulation),
        adaptive_(settings.adaptive) {}

  Formulation formulation_;
  std::optional<Adaptive> adaptive_;
};

RETORT_PLUGIN(RungeKuttaByTableau, solver, runge_kutta)
