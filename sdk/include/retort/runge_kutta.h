/// Explicit Runge-Kutta methods: a tableau, and the coordinate that it steps in.
#pragma once

#include "retort/solver.h"
#include "retort/tableau.h"

namespace retort {

/// In what the ODE is written. With y = x / alpha and z = x / sqrt(alpha^2 + sigma^2):
///   time    dx/dt = alpha' D + sigma' eps, t the process's own time
///   sigma   dy/ds = eps, s = sigma / alpha (Karras et al. 2022, eq. 4)
///   lambda  dy/dl = -s eps, l = log(alpha / sigma)
///   angle   dz/da = cos(a) eps - sin(a) D, a = atan2(sigma, alpha); finite from alpha = 0 to sigma = 0
enum class Coordinate { time, sigma, lambda, angle };

/// In what an exponential method writes the ODE, over l = log(alpha / sigma):
///   data   y = x / alpha, dy/dl = -y + D: linear part -1 (Lu et al. 2022, arXiv 2211.01095)
///   noise  y = x / sigma, dy/dl = y - eps: linear part 1 (Lu et al. 2022, arXiv 2206.00927)
enum class Formulation { data, noise };

/// What a step shares with the next, and says of its error.
struct StageValues {
  Tensor first;  // in and out: the first stage's derivative; left undefined it is evaluated
  Tensor last;   // out: the last stage's
  Tensor error;  // out: the difference from the tableau's embedded method, in units of x; undefined where it has none
};

/// One step from step.from to step.to. Coordinates but `angle` need alpha(from) > 0 and sigma(to) > 0; in `time` an
/// evaluation at the end is made no earlier than the process's least time of a finite drift. The tableau is explicit
/// and of numbers.
RETORT_API Tensor runge_kutta(const Step& step, const Tensor& x, Coordinate coordinate, const Tableau& tableau,
                              StageValues* stages = nullptr);

/// The same by an explicit tableau with phi functions, between alpha(from) > 0 and sigma(to) > 0.
RETORT_API Tensor exponential_runge_kutta(const Step& step, const Tensor& x, Formulation formulation,
                                          const Tableau& tableau);

/// The coordinate of a step, and the way back: [B] float64.
RETORT_API Tensor place(Coordinate coordinate, const Times& at);
RETORT_API Tensor time_at(Coordinate coordinate, const Process& process, const Tensor& place);
/// The coordinate from a plugin's key.
RETORT_API Coordinate read_coordinate(Params& p, const char* key, const char* fallback);

/// A solver that is a tableau, with a key for its coordinate.
class RETORT_API RungeKutta : public Solver {
 public:
  RungeKutta(Params& p, const Tableau& tableau, const char* key = "coordinate");
  RungeKutta(Tableau tableau, Coordinate coordinate);
  int order() const override { return tableau_.order; }
  int evaluations() const override { return static_cast<int>(tableau_.b.size()); }
  bool interior() const override { return coordinate_ != Coordinate::angle; }
  Tensor step(const Step& step, const Tensor& x) const override { return runge_kutta(step, x, coordinate_, tableau_); }
  /// In `time` Euler's step, else DDIM.
  Tensor edge_step(const Step& step, const Tensor& x) const override;

 protected:
  const Tableau& method() const { return tableau_; }
  Coordinate coordinate() const { return coordinate_; }

 private:
  Tableau tableau_;
  Coordinate coordinate_;
};

}  // namespace retort
