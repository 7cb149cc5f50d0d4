/// Dormand-Prince 5(4) with a step size for each sample: the reference that other solvers are held against.
///
/// It integrates the scaled state z = x / sqrt(alpha^2 + sigma^2) over the angle a = atan2(sigma, alpha), where the ODE
/// reads dz/da = cos(a) eps - sin(a) D and stays finite from alpha = 0 to sigma = 0. The steps between two
/// grid times adapt until the estimated error of each is below atol + rtol |z|; rows that have arrived cost nothing.
/// The noise prediction is not asked for at sigma = 0, where a teacher that predicts data has none: the last bit of the
/// way, over which the data prediction no longer changes, is DDIM's. Source: Dormand & Prince 1980; Hairer, Norsett &
/// Wanner 1993, II.4 (step-size control).
///
///     [solver]
///     type = "rk45"
///     rtol = 1e-6
///     atol = 1e-6
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

#include <array>
#include <numbers>

using namespace retort;

namespace {

constexpr int stages = 7;
constexpr std::array<double, stages> nodes = {0, 1.0 / 5, 3.0 / 10, 4.0 / 5, 8.0 / 9, 1, 1};
constexpr double tableau[stages][stages - 1] = {
    {},
    {1.0 / 5},
    {3.0 / 40, 9.0 / 40},
    {44.0 / 45, -56.0 / 15, 32.0 / 9},
    {19372.0 / 6561, -25360.0 / 2187, 64448.0 / 6561, -212.0 / 729},
    {9017.0 / 3168, -355.0 / 33, 46732.0 / 5247, 49.0 / 176, -5103.0 / 18656},
    {35.0 / 384, 0, 500.0 / 1113, 125.0 / 192, -2187.0 / 6784, 11.0 / 84},
};
// Fifth-order minus fourth-order weights.
constexpr std::array<double, stages> error_weights = {71.0 / 57600,      0,          -71.0 / 16695, 71.0 / 1920,
                                                      -17253.0 / 339200, 22.0 / 525, -1.0 / 40};
constexpr double safety = 0.9;
constexpr double shrink_most = 0.2;
constexpr double grow_most = 5;
constexpr int64_t most_rounds = 100000;

}  // namespace

class Rk45 final : public Solver {
 public:
  explicit Rk45(Params& p)
      : rtol_(p.get("rtol", 1e-6, "relative tolerance of one step", more_than(0))),
        atol_(p.get("atol", 1e-6, "absolute tolerance of one step, in units of the scaled state", more_than(0))),
        first_step_(p.get("first_step", 0.01, "first step tried, as a fraction of the interval",
                          {.low = 0, .high = 1, .low_open = true})) {}
  int order() const override { return 5; }
  int evaluations() const override { return 0; }

  Tensor step(const Step& interval, const Tensor& x) const override {
    const Ode& ode = interval.ode;
    const Tensor &t = interval.from.t(), &s = interval.to.t();
    const Process& p = ode.process();
    const double least = x.scalar_type() == at::kDouble ? 1e-6 : 1e-4;
    const Tensor end = at::atan2(p.sigma(s), p.alpha(s)).clamp_min(least);
    Tensor angle = at::atan2(p.sigma(t), p.alpha(t));
    Tensor h = (end - angle) * first_step_;
    Tensor z = x / rows(radius(p, t), x);
    Tensor slope = derivative(ode, z, angle);

    for (int64_t round = 0;; ++round) {
      const Tensor active = at::nonzero(angle > end).view({-1});
      if (active.numel() == 0) {
        return last_bit(ode, z * rows(radius(p, from_angle(p, at::minimum(angle, end))), x), at::minimum(angle, end),
                        s);
      }
      if (round == most_rounds) {
        throw Error("rk45: no end after " + std::to_string(most_rounds) +
                    " steps; the tolerance may be below what the precision can resolve");
      }
      const Tensor a = angle.index_select(0, active);
      const Tensor goal = end.index_select(0, active);
      const Tensor step = at::maximum(h.index_select(0, active), goal - a);  // both are negative
      const Ode part = ode.rows(active);
      const Tensor from = z.index_select(0, active.to(z.device()));
      std::array<Tensor, stages> k;
      k[0] = slope.index_select(0, active.to(z.device()));
      Tensor to;
      for (int i = 1; i < stages; ++i) {
        Tensor sum = tableau[i][0] * k[0];
        for (int j = 1; j < i; ++j) {
          sum = sum + tableau[i][j] * k[static_cast<size_t>(j)];
        }
        to = from + rows(step, from) * sum;
        k[static_cast<size_t>(i)] = derivative(part, to, a + nodes[static_cast<size_t>(i)] * step);
      }
      Tensor difference = error_weights[0] * k[0];
      for (size_t i = 2; i < stages; ++i) {
        difference = difference + error_weights[i] * k[i];
      }
      const Tensor scale = atol_ + rtol_ * at::maximum(from.abs(), to.abs());
      const Tensor error =
          (rows(step, from) * difference / scale).flatten(1).square().mean(1).sqrt().to(at::kCPU, at::kDouble);
      if (error.isnan().any().item<bool>()) {
        throw Error("rk45: the teacher's prediction is not a number");
      }
      const Tensor accepted = error <= 1;
      const Tensor factor = (safety * error.clamp_min(1e-10).pow(-0.2)).clamp(shrink_most, grow_most);
      const Tensor arrived = step == goal - a;
      const Tensor good = at::nonzero(accepted).view({-1});
      const Tensor target = active.index_select(0, good);
      const Tensor good_there = good.to(z.device()), target_there = target.to(z.device());
      z.index_copy_(0, target_there, to.index_select(0, good_there));
      slope.index_copy_(0, target_there, k[stages - 1].index_select(0, good_there));
      angle.index_copy_(0, target, at::where(arrived, goal, a + step).index_select(0, good));
      h.index_copy_(0, active, step * factor);
    }
  }

 private:
  static Tensor from_angle(const Process& p, const Tensor& angle) {
    return p.time_of_noise_level(angle.tan().clamp_min(0));
  }

  // From where the steps end to s, for the rows that are not there yet.
  static Tensor last_bit(const Ode& ode, const Tensor& x, const Tensor& angle, const Tensor& s) {
    const Process& p = ode.process();
    return by_rows(
        angle > at::atan2(p.sigma(s), p.alpha(s)),
        [&](const Tensor& i) {
          const Tensor xi = x.index_select(0, i.to(x.device())), ti = from_angle(p, angle.index_select(0, i));
          return ddim_step(Times(p, ti), Times(p, s.index_select(0, i)), xi, ode.rows(i).data(xi, ti));
        },
        [&](const Tensor& i) { return x.index_select(0, i.to(x.device())); });
  }

  static Tensor radius(const Process& p, const Tensor& t) { return at::hypot(p.alpha(t), p.sigma(t)); }

  static Tensor derivative(const Ode& ode, const Tensor& z, const Tensor& angle) {
    const Process& p = ode.process();
    const Tensor t = from_angle(p, angle);
    const Ode::Prediction f = ode.predict(z * rows(radius(p, t), z), t);
    return rows(angle.cos(), z) * f.noise - rows(angle.sin(), z) * f.data;
  }

  double rtol_;
  double atol_;
  double first_step_;
};

RETORT_PLUGIN(Rk45, solver, rk45)
