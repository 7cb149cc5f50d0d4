/// Negative log-likelihood, in nats, of samples under the exact distribution that the teacher's ODE makes from noise.
///
/// Along the ODE dz/da = v(z, a) a density changes by d log p / da = -div v (instantaneous change of variables), so
/// log p(x) is that of the noise at the way's other end, plus the integral of div v over the way. z = x /
/// sqrt(alpha^2 + sigma^2) and the angle a = atan2(sigma, alpha) keep the ODE finite at both ends. div v is exact, by a
/// difference along each dimension, where there are few; else it is Hutchinson's estimate, the mean of d'(dv/dx)d over
/// random signs d, a set for each sample. Steps are RK4's, each taken in one and in two, whose difference controls the
/// step and raises the order to 5. With a Gaussian mixture as teacher the figure is the cross-entropy of the samples to
/// the data; nll_data is that of real data, the entropy, which samples of the data's distribution have too. Lower is
/// not better: samples at the modes are below it.
///
/// It asks no more of a teacher than its predictions, so it works with networks too. A sample costs 11 (2 probes + 1)
/// evaluations per step, and some tens of steps. Noise is N(0, sigma^2) at the grid's first time, as samplers draw it.
/// Source: Chen et al. 2018 (arXiv 1806.07366), theorem 1; Song et al. 2021 (arXiv 2011.13456), eq. 39 and 40.
///
///     [evaluate]
///     metrics = ["nll"]
///
///     [metric.nll]
///     samples = 128
///     exact_dimensions = 8           # of more, Hutchinson's estimate
///     probes = 1
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

using namespace retort;

class Nll final : public Metric {
 public:
  explicit Nll(Params& p)
      : most_(p.get("samples", 128, "at most so many samples, the first ones", at_least(1))),
        probes_(p.get("probes", 1, "directions of Hutchinson's estimate", at_least(1))),
        exact_(p.get("exact_dimensions", 8, "samples of so many dimensions have the exact divergence", at_least(0))),
        difference_(p.get("difference", 1e-3, "the central difference's step, in units of z", more_than(0))),
        tolerance_(p.get("tolerance", 1e-4, "error of a step, of z in its units and of log p in nats per dimension",
                         more_than(0))),
        least_(
            p.get("least_noise_level", 2e-3, "samples that are cleaner count as of this sigma / alpha", more_than(0))),
        data_(p.get("data", true, "measure nll_data too, where there is a data set")) {}

  Measurement measure(const Evaluation& evaluation) const override {
    if (evaluation.ode() == nullptr || !evaluation.grid().defined()) {
      return {};
    }
    const Tensor x = evaluation.sample_states();
    const int64_t n = std::min(most_, x.size(0));
    Measurement out;
    out.values.emplace_back("nll", nll(evaluation, {x.narrow(0, 0, n), evaluation.start().condition.first(n)}));
    if (data_ && evaluation.dataset() != nullptr) {
      const Tensor of_data = evaluation.shared("nll of " + std::to_string(n) + " data, " + settings(), [&] {
        return at::scalar_tensor(nll(evaluation, evaluation.data(n)), at::kDouble);
      });
      out.values.emplace_back("nll_data", of_data.item<double>());
    }
    return out;
  }

 private:
  int64_t most_, probes_, exact_;
  double difference_, tolerance_, least_;
  bool data_;

  std::string settings() const {
    return std::to_string(probes_) + " " + std::to_string(exact_) + " " + Value{difference_, {}}.text() + " " +
           Value{tolerance_, {}}.text() + " " + Value{least_, {}}.text();
  }

  // The mean over a batch.
  double nll(const Evaluation& evaluation, const Batch& batch) const {
    const Ode ode = evaluation.ode()->with(batch.condition);
    const Process& process = ode.process();
    const Tensor grid = evaluation.grid();
    const Tensor alpha = process.alpha(grid), sigma = process.sigma(grid);
    const double radius = at::hypot(alpha[-1], sigma[-1]).item<double>();
    const double first = at::atan2(sigma[0], alpha[0]).item<double>();
    const double last = std::max(at::atan2(sigma[-1], alpha[-1]).item<double>(), std::atan(least_));
    const int64_t n = batch.x.size(0), d = batch.x[0].numel();
    const Tensor directions = d <= exact_ ? at::eye(d, at::kDouble).unsqueeze(1).expand({d, n, d})
                                          : at::randint(0, 2, {probes_, n, d}, evaluation.generator("nll"),
                                                        at::TensorOptions().dtype(at::kDouble)) *
                                                    2 -
                                                1;
    const Slope slope{ode, batch.x, directions.to(batch.x.device()), difference_, d <= exact_};
    const Tensor z = batch.x.to(at::kDouble).flatten(1) / radius;
    const Tensor end = integrate(slope, at::cat({z, at::zeros({n, 1}, z.options())}, 1), last, first);
    // z of noise has the deviation sigma / radius = sin a; the density of x is that of z over radius^d.
    const double variance = std::sin(first) * std::sin(first);
    const Tensor noise = -0.5 * end.narrow(1, 0, d).square().sum(1) / variance -
                         0.5 * static_cast<double>(d) * std::log(2 * std::numbers::pi * variance);
    const Tensor log_p = noise + end.select(1, d) - static_cast<double>(d) * std::log(radius);
    return -log_p.mean().item<double>();
  }

  // v, and beside it the divergence of v, at a state [n, d + 1].
  struct Slope {
    const Ode& ode;
    const Tensor& like;  // whose shape and precision the teacher is given
    Tensor directions;   // [k, n, d]
    double h;
    bool exact;  // the directions are the axes, and their terms the diagonal

    Tensor operator()(const Tensor& state, double a) const {
      const int64_t d = directions.size(2), n = directions.size(1);
      const Tensor z = state.narrow(1, 0, d);
      const Tensor v = velocity(z, a);
      Tensor divergence = at::zeros({n}, z.options());
      for (int64_t i = 0; i < directions.size(0); ++i) {
        const Tensor direction = directions[i];
        const Tensor change = velocity(z + h * direction, a) - velocity(z - h * direction, a);
        divergence += (direction * change).sum(1) / (2 * h);
      }
      if (!exact) {
        divergence /= static_cast<double>(directions.size(0));
      }
      return at::cat({v, divergence.unsqueeze(1)}, 1);
    }

    // dz/da = cos a eps - sin a D. z: [n, d]
    Tensor velocity(const Tensor& z, double a) const {
      const Process& process = ode.process();
      const Tensor t = process.time_of_noise_level(at::full({z.size(0)}, std::tan(a), at::kDouble));
      const Tensor x = rows(at::hypot(process.alpha(t), process.sigma(t)), z) * z;
      const Ode::Prediction f = ode.predict(x.view(like.sizes()).to(like.scalar_type()), t);
      return (std::cos(a) * f.noise.to(at::kDouble) - std::sin(a) * f.data.to(at::kDouble)).flatten(1);
    }
  };

  Tensor integrate(const Slope& slope, Tensor y, double a, double end) const {
    const auto step = [&](const Tensor& from, double angle, double h, const Tensor& k1) {
      const Tensor k2 = slope(from + h / 2 * k1, angle + h / 2);
      const Tensor k3 = slope(from + h / 2 * k2, angle + h / 2);
      const Tensor k4 = slope(from + h * k3, angle + h);
      return from + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
    };
    const int64_t d = y.size(1) - 1;
    double h = std::min(a, end - a);
    Tensor k = slope(y, a);
    for (int64_t tried = 0; a < end; ++tried) {
      h = std::min(h, end - a);
      const Tensor half = step(y, a, h / 2, k);
      const Tensor fine = step(half, a + h / 2, h / 2, slope(half, a + h / 2));
      const Tensor error = (fine - step(y, a, h, k)) / 15;
      const double most = std::max(error.narrow(1, 0, d).abs().max().item<double>(),
                                   error.select(1, d).abs().max().item<double>() / static_cast<double>(d)) /
                          tolerance_;
      if (!std::isfinite(most) || tried == most_steps) {
        throw Error("nll: the way to the noise does not end; the teacher's prediction may not be smooth");
      }
      if (most <= 1) {
        y = fine + error;
        a = h == end - a ? end : a + h;
        if (a < end) {
          k = slope(y, a);
        }
      }
      h *= std::clamp(0.9 * std::pow(std::max(most, 1e-10), -0.2), 0.2, 5.0);
    }
    return y;
  }

  static constexpr int64_t most_steps = 10000;
};

RETORT_PLUGIN(Nll, metric, nll)
