/// Runge-Kutta steps whose size adapts to an error estimate, for each sample by itself.
#pragma once

#include <retort/runge_kutta.h>

#include <ATen/ATen.h>

#include <utility>

namespace retort {

/// Steps between two grid times until the estimated error of each is below atol + rtol |z|, z the scaled state
/// x / sqrt(alpha^2 + sigma^2). It goes over the angle atan2(sigma, alpha), where the ODE is finite from alpha = 0 to
/// sigma = 0. The noise prediction is not asked for at sigma = 0, where a teacher that predicts data has none: the last
/// bit of the way, over which the data prediction no longer changes, is DDIM's. Rows that have arrived cost nothing.
/// Source: Hairer, Norsett & Wanner 1993, II.4 (step-size control).
class Adaptive {
 public:
  /// Of a pair, from the keys `rtol`, `atol` and `first_step`.
  Adaptive(Params& p, Tableau pair, double tolerance = 1e-6)
      : pair_(std::move(pair)),
        keeps_slope_(pair_.first_same_as_last()),
        // The error that a step may have is of the order of its embedded method, plus one.
        power_(-1.0 / (order_of(pair_, pair_.embedded) + 1)),
        rtol_(p.get("rtol", tolerance, "relative tolerance of one step", more_than(0))),
        atol_(p.get("atol", tolerance, "absolute tolerance of one step, in units of the scaled state", more_than(0))),
        first_step_(p.get("first_step", 0.01, "first step tried, as a fraction of the interval",
                          {.low = 0, .high = 1, .low_open = true})) {}

  Tensor run(const Step& interval, const Tensor& x0) const {
    const Ode& ode = interval.ode;
    const Process& process = ode.process();
    const double least = x0.scalar_type() == at::kDouble ? 1e-6 : 1e-4;
    const Tensor end = place(Coordinate::angle, interval.to).clamp_min(least);
    Tensor angle = place(Coordinate::angle, interval.from), h = (end - angle) * first_step_, x = x0.clone(), slope;

    for (int64_t round = 0;; ++round) {
      const Tensor active = at::nonzero(angle > end).view({-1});
      if (active.numel() == 0) {
        return last_bit(ode, x, at::minimum(angle, end), interval.to);
      }
      if (round == most_rounds) {
        throw Error("no end after " + std::to_string(most_rounds) +
                    " steps; the tolerance may be below what the precision can resolve");
      }
      const Tensor there = active.to(x.device());
      const Tensor a = angle.index_select(0, active), goal = end.index_select(0, active);
      const Tensor step = at::maximum(h.index_select(0, active), goal - a);  // both are negative
      const Tensor begin = x.index_select(0, there);
      const Ode part = ode.rows(active);
      const Noise noise = interval.noise.select(active);
      History none;
      none.grow(active.numel());
      const Times from(process, time_at(Coordinate::angle, process, a));
      const Times to(process, time_at(Coordinate::angle, process, a + step));
      StageValues stages{slope.defined() ? slope.index_select(0, there) : Tensor(), {}, {}};
      const Tensor next = runge_kutta(Step{part, from, to, none, noise}, begin, Coordinate::angle, pair_, &stages);

      const Tensor radius_to = radius(to);
      const Tensor tolerance =
          atol_ + rtol_ * at::maximum((begin / rows(radius(from), begin)).abs(), (next / rows(radius_to, next)).abs());
      const Tensor error = (stages.error / rows(radius_to, next) / tolerance)
                               .flatten(1)
                               .square()
                               .mean(1)
                               .sqrt()
                               .to(at::kCPU, at::kDouble);
      if (error.isnan().any().item<bool>()) {
        throw Error("the teacher's prediction is not a number");
      }
      const Tensor factor = (safety * error.clamp_min(1e-10).pow(power_)).clamp(shrink_most, grow_most);
      const Tensor good = at::nonzero(error <= 1).view({-1});
      const Tensor target = active.index_select(0, good);
      const Tensor good_there = good.to(x.device()), target_there = target.to(x.device());
      x.index_copy_(0, target_there, next.index_select(0, good_there));
      if (keeps_slope_) {
        slope = slope.defined() ? slope : at::empty_like(x);
        slope.index_copy_(0, there, stages.first);
        slope.index_copy_(0, target_there, stages.last.index_select(0, good_there));
      }
      angle.index_copy_(0, target, at::where(step == goal - a, goal, a + step).index_select(0, good));
      h.index_copy_(0, active, step * factor);
    }
  }

 private:
  static constexpr double safety = 0.9, shrink_most = 0.2, grow_most = 5;
  static constexpr int64_t most_rounds = 100000;

  static Tensor radius(const Times& at) { return at::hypot(at.alpha(), at.sigma()); }

  // From where the steps end to the interval's end, for the rows that are not there yet.
  static Tensor last_bit(const Ode& ode, const Tensor& x, const Tensor& angle, const Times& end) {
    return by_rows(
        angle > place(Coordinate::angle, end),
        [&](const Tensor& i) {
          const Times from(ode.process(), time_at(Coordinate::angle, ode.process(), angle.index_select(0, i)));
          const Tensor xi = x.index_select(0, i.to(x.device()));
          return ddim_step(from, end.select(i), xi, ode.rows(i).data(xi, from.t()));
        },
        [&](const Tensor& i) { return x.index_select(0, i.to(x.device())); });
  }

  Tableau pair_;
  bool keeps_slope_;  // the last stage is the next step's first
  double power_, rtol_, atol_, first_step_;
};

}  // namespace retort
