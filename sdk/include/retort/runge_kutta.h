/// Explicit Runge-Kutta methods: a Butcher tableau, and the coordinate that it steps in.
#pragma once

#include <vector>

#include "retort/solver.h"

namespace retort {

/// In what the ODE is written. With y = x / alpha and z = x / sqrt(alpha^2 + sigma^2):
///   time    dx/dt = alpha' D + sigma' eps, t the process's own time
///   sigma   dy/ds = eps, s = sigma / alpha (Karras et al. 2022, eq. 4)
///   lambda  dy/dl = -s eps, l = log(alpha / sigma)
///   angle   dz/da = cos(a) eps - sin(a) D, a = atan2(sigma, alpha); finite from alpha = 0 to sigma = 0
enum class Coordinate { time, sigma, lambda, angle };

/// x_i = x + h sum_j a_ij k_j, evaluated at c_i; the step ends at x + h sum_i b_i k_i. a: a row for each stage, below
/// its diagonal (Hairer, Norsett & Wanner 1993, II.1).
struct Tableau {
  int order;
  std::vector<std::vector<double>> a;
  std::vector<double> b, c;
};

/// The tableaux in use, each said once.
namespace tableaux {
RETORT_API extern const Tableau heun;      // the trapezoidal rule with an Euler predictor
RETORT_API extern const Tableau midpoint;  // Runge 1895
RETORT_API extern const Tableau ralston;   // least error of order 2: Ralston 1962
RETORT_API extern const Tableau rk4;       // Kutta 1901, the classical one
}  // namespace tableaux

/// One step from step.from to step.to. Coordinates but `angle` need alpha(from) > 0 and sigma(to) > 0; in `time` an
/// evaluation at the end is made no earlier than the process's least time of a finite drift.
RETORT_API Tensor runge_kutta(const Step& step, const Tensor& x, Coordinate coordinate, const Tableau& tableau);

/// A solver that is a tableau, with a key for its coordinate.
class RETORT_API RungeKutta : public Solver {
 public:
  RungeKutta(Params& p, const Tableau& tableau, const char* key = "coordinate");
  int order() const override { return tableau_.order; }
  int evaluations() const override { return static_cast<int>(tableau_.b.size()); }
  bool interior() const override { return coordinate_ != Coordinate::angle; }
  Tensor step(const Step& step, const Tensor& x) const override { return runge_kutta(step, x, coordinate_, tableau_); }
  /// In `time` Euler's step, else DDIM.
  Tensor edge_step(const Step& step, const Tensor& x) const override;

 protected:
  Coordinate coordinate() const { return coordinate_; }

 private:
  Tableau tableau_;
  Coordinate coordinate_;
};

}  // namespace retort
