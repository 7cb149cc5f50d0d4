// A curve that is given as functions.
#include <cmath>

#include "curve.h"

namespace retort {

namespace {

Value named(const std::string& name) {
  Value out;
  out["type"] = Value{name, {}};
  return out;
}

class OfFunctions final : public Curve {
 public:
  explicit OfFunctions(Process::Functions functions) : Curve(named(functions.name)), is_(std::move(functions)) {}
  double alpha(double t) const override { return is_.alpha(t); }
  double sigma(double t) const override { return is_.sigma(t); }
  double d_alpha(double t) const override { return is_.d_alpha(t); }
  double d_sigma(double t) const override { return is_.d_sigma(t); }
  double lambda(double t) const override { return std::log(alpha(t)) - std::log(sigma(t)); }
  double time(double lambda) const override { return is_.time ? is_.time(lambda) : bisect(lambda); }
  double noise_level(double t) const override { return sigma(t) / alpha(t); }
  double t_max() const override { return is_.t_max; }
  double least_drift_time() const override { return is_.least_drift_time; }
  bool is_its_value() const override { return false; }

 private:
  double bisect(double wanted) const {
    if (std::isnan(wanted)) {
      return wanted;
    }
    double low = 0, high = is_.t_max;
    if (wanted <= lambda(high)) {
      return high;
    }
    constexpr int halvings = 200;  // neighbouring numbers are met sooner, but for times next to 0
    for (int i = 0; i < halvings; ++i) {
      const double middle = low + (high - low) / 2;
      if (middle <= low || middle >= high) {
        break;
      }
      (lambda(middle) > wanted ? low : high) = middle;
    }
    return high;
  }

  Process::Functions is_;
};

}  // namespace

CurvePtr curves::of_functions(Process::Functions functions) {
  if (!functions.alpha || !functions.sigma || !functions.d_alpha || !functions.d_sigma) {
    throw RequestError("process '" + functions.name +
                       "' lacks a function; expected alpha, sigma and their derivatives");
  }
  return std::make_shared<OfFunctions>(std::move(functions));
}

}  // namespace retort
