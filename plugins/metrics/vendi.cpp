/// Vendi score: how many different samples there are, in effect.
///
/// The exponential of the entropy of the eigenvalues of K / n, K_ij = k(x_i, x_j) with k(x, x) = 1: 1 where all samples
/// are alike, n where no two have anything in common. vendi_score_reference is the same of the reference, to compare
/// with. Other orders q weigh frequent kinds more (q > 1) or less: Renyi's entropy. It grows with the number of
/// samples, so compare figures of equal numbers. The kernel is the cosine of the features, whose eigenvalues cost n
/// F^2, or exp(-||x
/// - y||^2 / (2 s^2)), which needs the whole matrix: n^2 numbers in memory, and the time of n^3. Source: Friedman &
/// Dieng 2023 (arXiv 2210.02410); Pasarkar & Dieng 2023 (arXiv 2310.12952) for the order.
///
///     [evaluate]
///     metrics = ["vendi"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.vendi]
///     kernel = "cosine"
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>

#include "../shared/draw.h"
#include "distances.h"

using namespace retort;

class Vendi final : public Metric {
 public:
  explicit Vendi(Params& p)
      : cosine_(p.choice("kernel", "cosine", {"cosine", "gaussian"}, "the similarity") == "cosine"),
        bandwidth_(p.get("bandwidth", 1.0, "s of the Gaussian kernel", more_than(0))),
        order_(p.get("order", 1.0, "q of the entropy; 1: Shannon's", more_than(0))),
        most_(p.get("samples", 2000, "at most so many samples, drawn from all", at_least(2))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const auto score = [&](const Tensor& features) {
      return vendi(draw_rows(features, most_, evaluation.generator("vendi")).to(at::kDouble));
    };
    return {{{"vendi_score", score(evaluation.sample_features())},
             {"vendi_score_reference", score(evaluation.reference_features())}},
            {}};
  }

 private:
  bool cosine_;
  double bandwidth_, order_;
  int64_t most_;

  double vendi(const Tensor& x) const {
    const auto n = static_cast<double>(x.size(0));
    Tensor matrix;
    if (cosine_) {
      // A sample at the origin has no direction, and counts for nothing. X X' and X' X have the same eigenvalues but
      // zeros.
      const Tensor unit = x / x.norm(2, {1}, /*keepdim=*/true).clamp_min(1e-300);
      matrix = x.size(1) < x.size(0) ? at::matmul(unit.t(), unit) : at::matmul(unit, unit.t());
    } else {
      matrix = at::empty({x.size(0), x.size(0)}, x.options());
      for (int64_t i = 0; i < x.size(0); i += rows_at_once) {
        const Tensor part = x.narrow(0, i, std::min(rows_at_once, x.size(0) - i));
        matrix.narrow(0, i, part.size(0)).copy_((distances(part, x).square() / (-2 * bandwidth_ * bandwidth_)).exp());
      }
    }
    const Tensor all = at::linalg_eigvalsh(matrix / n);
    const Tensor p = all.masked_select(all > 1e-14 * all.max());  // the others are rounding
    const double entropy =
        order_ == 1 ? -(p * p.log()).sum().item<double>() : std::log(p.pow(order_).sum().item<double>()) / (1 - order_);
    return std::exp(entropy);
  }
};

RETORT_PLUGIN(Vendi, metric, vendi)
