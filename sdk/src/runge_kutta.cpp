#include "retort/runge_kutta.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "retort/fused.h"

namespace retort {

namespace tableaux {
const Tableau heun = {2, {{}, {1}}, {1.0 / 2, 1.0 / 2}, {0, 1}};
const Tableau midpoint = {2, {{}, {1.0 / 2}}, {0, 1}, {0, 1.0 / 2}};
const Tableau ralston = {2, {{}, {2.0 / 3}}, {1.0 / 4, 3.0 / 4}, {0, 2.0 / 3}};
const Tableau rk4 = {
    4, {{}, {1.0 / 2}, {0, 1.0 / 2}, {0, 0, 1}}, {1.0 / 6, 1.0 / 3, 1.0 / 3, 1.0 / 6}, {0, 1.0 / 2, 1.0 / 2, 1}};
}  // namespace tableaux

namespace {

const std::vector<std::string> names = {"time", "sigma", "lambda", "angle"};

// The coordinate u, what x is divided by, and the derivative of the scaled state in u.
Tensor place(Coordinate coordinate, const Times& at) {
  switch (coordinate) {
    case Coordinate::time:
      return at.t();
    case Coordinate::sigma:
      return at.noise_level();
    case Coordinate::lambda:
      return at.lambda();
    case Coordinate::angle:
      return at::atan2(at.sigma(), at.alpha());
  }
  throw Error("unknown coordinate");
}

Tensor time_at(Coordinate coordinate, const Process& process, const Tensor& place) {
  switch (coordinate) {
    case Coordinate::time:
      return place;
    case Coordinate::sigma:
      return process.time_of_noise_level(place);
    case Coordinate::lambda:
      return process.time(place);
    case Coordinate::angle:
      return process.time_of_noise_level(place.tan().clamp_min(0));
  }
  throw Error("unknown coordinate");
}

Tensor scale(Coordinate coordinate, const Times& at) {
  switch (coordinate) {
    case Coordinate::time:
      return at::ones_like(at.t());
    case Coordinate::angle:
      return at::hypot(at.alpha(), at.sigma());
    default:
      return at.alpha();
  }
}

Tensor derivative(Coordinate coordinate, const Ode& ode, const Tensor& x, const Times& at) {
  switch (coordinate) {
    case Coordinate::time:
      return ode.velocity(x, at.t().clamp_min(at.process().least_drift_time()));
    case Coordinate::sigma:
      return ode.noise(x, at.t());
    case Coordinate::lambda:
      return rows(-at.noise_level(), x) * ode.noise(x, at.t());
    case Coordinate::angle: {
      const Tensor angle = place(coordinate, at);
      const auto [data, noise] = ode.predict(x, at.t());
      return combine({{angle.cos(), noise}, {-angle.sin(), data}});
    }
  }
  throw Error("unknown coordinate");
}

}  // namespace

Tensor runge_kutta(const Step& step, const Tensor& x, Coordinate coordinate, const Tableau& tableau) {
  const Tensor begin = place(coordinate, step.from), h = place(coordinate, step.to) - begin;
  const Tensor scale_of_x = scale(coordinate, step.from);
  const size_t stages = tableau.b.size();
  std::vector<Tensor> k;
  // x + h sum_j weights_j k_j, brought back from the scaled state.
  const auto state = [&](const std::vector<double>& weights, const Times& at) {
    const Tensor own = scale(coordinate, at), length = own * h;
    std::vector<Term> terms = {{own / scale_of_x, x}};
    for (size_t j = 0; j < k.size(); ++j) {
      if (weights[j] != 0) {
        terms.push_back({length * weights[j], k[j]});
      }
    }
    return combine(terms);
  };
  for (size_t i = 0; i < stages; ++i) {
    const double c = tableau.c[i];
    const Times at = c == 0   ? step.from
                     : c == 1 ? step.to
                              : Times(step.ode.process(), time_at(coordinate, step.ode.process(), begin + c * h));
    k.push_back(derivative(coordinate, step.ode, i == 0 ? x : state(tableau.a[i], at), at));
  }
  return state(tableau.b, step.to);
}

RungeKutta::RungeKutta(Params& p, const Tableau& tableau, const char* key) : tableau_(tableau) {
  const std::string name = p.choice(key, "sigma", names,
                                    "what is stepped in: sigma / alpha, the process's own time, lambda = log(alpha / "
                                    "sigma), or the angle atan2(sigma, alpha)");
  coordinate_ = static_cast<Coordinate>(std::find(names.begin(), names.end(), name) - names.begin());
}

Tensor RungeKutta::edge_step(const Step& step, const Tensor& x) const {
  if (coordinate_ != Coordinate::time) {
    return Solver::edge_step(step, x);
  }
  return combine(
      {{at::ones_like(step.from.t()), x}, {step.to.t() - step.from.t(), step.ode.velocity(x, step.from.t())}});
}

}  // namespace retort
