#include "retort/runge_kutta.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "retort/fused.h"

namespace retort {

namespace {

const std::vector<std::string> names = {"time", "sigma", "lambda", "angle"};

}  // namespace

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

namespace {

// What x is divided by, and the derivative of the scaled state in the coordinate.
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

Tensor runge_kutta(const Step& step, const Tensor& x, Coordinate coordinate, const Tableau& tableau, StageValues* stages) {
  const Tensor begin = place(coordinate, step.from), h = place(coordinate, step.to) - begin;
  const Tensor scale_of_x = scale(coordinate, step.from);
  std::vector<Tensor> k;
  // x + h sum_j weights_j k_j, brought back from the scaled state.
  const auto state = [&](const std::vector<Coefficient>& weights, const Times& at) {
    const Tensor own = scale(coordinate, at), length = own * h;
    std::vector<Term> terms = {{own / scale_of_x, x}};
    for (size_t j = 0; j < std::min(k.size(), weights.size()); ++j) {
      if (!weights[j].is_zero()) {
        terms.push_back({length * weights[j].number(), k[j]});
      }
    }
    return combine(terms);
  };
  for (size_t i = 0; i < tableau.b.size(); ++i) {
    if (i == 0 && stages != nullptr && stages->first.defined()) {
      k.push_back(stages->first);
      continue;
    }
    const double c = tableau.c[i];
    const Times at = c == 0   ? step.from
                     : c == 1 ? step.to
                              : Times(step.ode.process(), time_at(coordinate, step.ode.process(), begin + c * h));
    k.push_back(derivative(coordinate, step.ode, i == 0 ? x : state(tableau.a[i], at), at));
  }
  if (stages != nullptr) {
    stages->first = k.front();
    stages->last = k.back();
    if (!tableau.embedded.empty()) {
      std::vector<Term> terms;
      for (size_t i = 0; i < k.size(); ++i) {
        const double difference = tableau.b[i].number() - tableau.embedded[i].number();
        if (difference != 0) {
          terms.push_back({scale(coordinate, step.to) * h * difference, k[i]});
        }
      }
      stages->error = combine(terms);
    }
  }
  return state(tableau.b, step.to);
}

Tensor exponential_runge_kutta(const Step& step, const Tensor& x, Formulation formulation, const Tableau& tableau) {
  const bool of_data = formulation == Formulation::data;
  const Tensor& lambda = step.from.lambda();
  const Tensor h = step.to.lambda() - lambda, z = of_data ? -h : h;
  const auto scale_at = [&](const Times& at) { return of_data ? at.alpha() : at.sigma(); };
  std::vector<Tensor> n;  // D, or eps whose sign stands in the length
  const auto state = [&](const std::vector<Coefficient>& weights, double c, const Times& at) {
    const Tensor own = scale_at(at), length = own * (of_data ? h : -h);
    std::vector<Term> terms = {{own / scale_at(step.from) * (c * z).exp(), x}};
    for (size_t j = 0; j < std::min(n.size(), weights.size()); ++j) {
      if (!weights[j].is_zero()) {
        terms.push_back({length * weights[j].at(z), n[j]});
      }
    }
    return combine(terms);
  };
  for (size_t i = 0; i < tableau.b.size(); ++i) {
    const double c = tableau.c[i];
    const Times at = c == 0   ? step.from
                     : c == 1 ? step.to
                              : Times(step.ode.process(), step.ode.process().time(lambda + c * h));
    const Tensor there = i == 0 ? x : state(tableau.a[i], c, at);
    n.push_back(of_data ? step.ode.data(there, at.t()) : step.ode.noise(there, at.t()));
  }
  return state(tableau.b, 1, step.to);
}

Coordinate read_coordinate(Params& p, const char* key, const char* fallback) {
  const std::string name = p.choice(key, fallback, names,
                                    "what is stepped in: sigma / alpha, the process's own time, lambda = log(alpha / "
                                    "sigma), or the angle atan2(sigma, alpha)");
  return static_cast<Coordinate>(std::find(names.begin(), names.end(), name) - names.begin());
}

RungeKutta::RungeKutta(Params& p, const Tableau& tableau, const char* key)
    : RungeKutta(tableau, read_coordinate(p, key, "sigma")) {}

RungeKutta::RungeKutta(Tableau tableau, Coordinate coordinate)
    : tableau_(std::move(tableau)), coordinate_(coordinate) {}

Tensor RungeKutta::edge_step(const Step& step, const Tensor& x) const {
  if (coordinate_ != Coordinate::time) {
    return Solver::edge_step(step, x);
  }
  return combine(
      {{at::ones_like(step.from.t()), x}, {step.to.t() - step.from.t(), step.ode.velocity(x, step.from.t())}});
}

}  // namespace retort
