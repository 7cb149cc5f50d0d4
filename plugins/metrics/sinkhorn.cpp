/// Sinkhorn divergence: optimal transport between samples and reference, smoothed by entropy, without the bias of it.
///
/// S = OT_e(a, b) - OT_e(a, a) / 2 - OT_e(b, b) / 2, with OT_e = min_P <P, C> + e KL(P | a x b) and the cost C = ||x -
/// y||^2. It is 0 for equal sets alone, W_2^2 as e falls to 0, and ||E X - E Y||^2 as it grows. `epsilon` counts in the
/// reference's mean squared distance from its mean, or, with `scaled = false`, in that of the numbers themselves.
///
/// Potentials are iterated in the log-domain, at first under a greater e, halved until it is the wanted one; then
/// over-relaxed, until their mean change, about the share of mass that is out of place, is below `tolerance`. An
/// iteration costs `samples` squared. The costs of 5000 samples and fewer stay in memory (400 MB); for more they are
/// computed anew in parts. Source: Feydy et al. 2019 (arXiv 1810.08278), eq. 3 and section 3; Thibault et al. 2021
/// (arXiv 1711.01851) for over-relaxation.
///
///     [evaluate]
///     metrics = ["sinkhorn"]
///
///     [metric.sinkhorn]
///     epsilon = 0.05
///     samples = 2000
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "../shared/draw.h"
#include "distances.h"

using namespace retort;

namespace {

// Costs between rows of x: [n, F] and y: [m, F], equal weights in both.
class Costs {
 public:
  Costs(const Tensor& x, const Tensor& y) : x_(x), y_(y) {
    constexpr int64_t most_in_memory = int64_t{5000} * 5000;
    if (x.size(0) * y.size(0) <= most_in_memory) {
      kept_ = distances(x, y).square();
    }
  }

  // The soft minimum over y, -e log mean_j exp((g_j - C_ij) / e), g: [m]. [n]
  Tensor soft_minimum(const Tensor& g, double e) const {
    const double log_m = std::log(static_cast<double>(y_.size(0)));
    std::vector<Tensor> out;
    for (int64_t i = 0; i < x_.size(0); i += rows_at_once) {
      const int64_t count = std::min(rows_at_once, x_.size(0) - i);
      const Tensor cost = kept_.defined() ? kept_.narrow(0, i, count) : distances(x_.narrow(0, i, count), y_).square();
      out.push_back(-e * (at::logsumexp((g.unsqueeze(0) - cost) / e, 1) - log_m));
    }
    return at::cat(out);
  }

 private:
  Tensor x_, y_, kept_;
};

}  // namespace

class Sinkhorn final : public Metric {
 public:
  explicit Sinkhorn(Params& p)
      : epsilon_(p.get("epsilon", 0.05, "e, the strength of the smoothing", more_than(0))),
        scaled_(p.get("scaled", true, "e counts in the reference's mean squared distance from its mean")),
        most_(p.get("samples", 2000, "at most so many samples of each, drawn from all", at_least(1))),
        iterations_(p.get("iterations", 5000, "at most; more are needed where e is small", at_least(1))),
        tolerance_(p.get("tolerance", 1e-4, "mean change of the potentials, in units of e, at which they stand",
                         more_than(0))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const auto some = [&](const Tensor& all) {
      return draw_rows(all, most_, evaluation.generator("sinkhorn")).to(at::kDouble);
    };
    const Tensor a = some(evaluation.sample_features()), b = some(evaluation.reference_features());
    const double spread = (b - b.mean(0)).square().sum(1).mean().item<double>();
    const double e = epsilon_ * (scaled_ && spread > 0 ? spread : 1.0);
    return {{{"sinkhorn_divergence", transport(a, b, e) - (within(a, e) + within(b, e)) / 2}}, {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"sinkhorn_divergence", 0}}; }
  bool symmetric() const override { return !scaled_; }

 private:
  // OT_e(x, y), from both potentials. `stretch` over-relaxes.
  double transport(const Tensor& x, const Tensor& y, double e) const {
    const Costs forth(x, y), back(y, x);
    Tensor f = at::zeros({x.size(0)}, x.options()), g = at::zeros({y.size(0)}, y.options());
    anneal(greatest(x, y), e, [&](double now, double stretch) {
      const Tensor change = forth.soft_minimum(g, now) - f;
      f = f + stretch * change;
      g = g + stretch * (back.soft_minimum(f, now) - g);
      return change.abs().mean().item<double>();
    });
    g = back.soft_minimum(f, e);  // then the plan's mass is 1, and the dual needs no third term
    return (f.mean() + g.mean()).item<double>();
  }

  // OT_e(x, x): both potentials are one, and the mean of old and new is soon there.
  double within(const Tensor& x, double e) const {
    const Costs costs(x, x);
    Tensor f = at::zeros({x.size(0)}, x.options());
    anneal(greatest(x, x), e, [&](double now, double) {
      const Tensor change = costs.soft_minimum(f, now) - f;
      f = f + change / 2;
      return change.abs().mean().item<double>();
    });
    return (f.mean() + costs.soft_minimum(f, e).mean()).item<double>();
  }

  // A bound of the costs: the square of twice the radius about the mean.
  static double greatest(const Tensor& x, const Tensor& y) {
    const Tensor all = at::cat({x, y});
    return 4 * (all - all.mean(0)).square().sum(1).max().item<double>();
  }

  template <class Iterate>
  void anneal(double from, double e, const Iterate& iterate) const {
    for (double now = from; now > e; now /= 2) {
      iterate(now, 1.0);
    }
    double stretch = 1.5, before = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < iterations_; ++i) {
      const double change = iterate(e, stretch);
      if (change <= tolerance_ * e) {
        return;
      }
      if (change > 2 * before) {
        stretch = 1.0;  // too bold
      }
      before = change;
    }
    throw RequestError("the potentials still move after " + std::to_string(iterations_) +
                       " iterations; expected a greater epsilon, or more iterations");
  }

  double epsilon_;
  bool scaled_;
  int64_t most_, iterations_;
  double tolerance_;
};

RETORT_PLUGIN(Sinkhorn, metric, sinkhorn)
