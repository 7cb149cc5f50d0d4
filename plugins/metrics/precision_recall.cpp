/// Precision: the share of samples within the reference's manifold; recall: the share of the reference within theirs.
///
/// A manifold is the union of balls around its points, each reaching to the point's k-th nearest neighbour. Distances
/// are taken by differences, in float64, so that data far from the origin, or equal, are measured as well as any. With
/// `density_coverage` there are two more figures, which outliers of the reference spoil less: density, in how many of
/// the reference's balls a sample lies, over k (1 is expected of equal distributions); and coverage, the share of those
/// balls that hold a sample. Balls are closed everywhere; prdc leaves out their border. The cost grows with `samples`
/// squared.
/// Source: Kynkaanniemi et al. 2019 (arXiv 1904.06991), eq. 1 and 2; Naeem et al. 2020 (arXiv 2002.09797), section 3.
///
///     [evaluate]
///     metrics = ["precision_recall"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.precision_recall]
///     neighbours = 5
///     density_coverage = true
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "../shared/draw.h"
#include "distances.h"

using namespace retort;

class PrecisionRecall final : public Metric {
 public:
  explicit PrecisionRecall(Params& p)
      : k_(p.get("neighbours", 5, "k", at_least(1))),
        most_(p.get("samples", 5000, "at most so many samples of each, drawn from all", at_least(2))),
        density_coverage_(p.get("density_coverage", false, "measure density and coverage too")) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const auto some = [&](const Tensor& all) {
      return draw_rows(all, most_, evaluation.generator("precision recall")).to(at::kDouble);
    };
    const Tensor samples = some(evaluation.sample_features());
    const Tensor reference = some(evaluation.reference_features());
    if (samples.size(0) <= k_ || reference.size(0) <= k_) {
      return {};
    }
    // The reference's manifold is the same for every model.
    const Tensor reach =
        evaluation.shared("radii, k = " + std::to_string(k_) + ", of " + std::to_string(reference.size(0)),
                          [&] { return radii(reference); });
    Measurement out{
        {{"precision", covered(samples, reference, reach)}, {"recall", covered(reference, samples, radii(samples))}},
        {}};
    if (density_coverage_) {
      // For each ball of the reference, how many samples it holds.
      const Tensor held = samples_within(samples, reference, reach).to(at::kDouble);
      const auto all = static_cast<double>(k_ * samples.size(0));
      out.values.emplace_back("density", held.sum().item<double>() / all);
      out.values.emplace_back("coverage", (held > 0).to(at::kDouble).mean().item<double>());
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override {
    std::vector<std::pair<std::string, double>> out = {{"precision", 1}, {"recall", 1}};
    if (density_coverage_) {
      out.emplace_back("coverage", 1);
    }
    return out;
  }

 private:
  // How far the ball around each point reaches: to its k-th nearest neighbour, the nearest being itself.
  Tensor radii(const Tensor& points) const {
    std::vector<Tensor> out;
    for (const Tensor& part : points.split(rows_at_once)) {
      out.push_back(std::get<0>(distances(part, points).kthvalue(k_ + 1, 1)));
    }
    return at::cat(out);
  }

  // The share of `points` that lie in the manifold of `support`.
  static double covered(const Tensor& points, const Tensor& support, const Tensor& radius) {
    int64_t inside = 0;
    for (const Tensor& part : points.split(rows_at_once)) {
      inside += (distances(part, support) <= radius.unsqueeze(0)).any(1).sum().item<int64_t>();
    }
    return static_cast<double>(inside) / static_cast<double>(points.size(0));
  }

  static Tensor samples_within(const Tensor& points, const Tensor& support, const Tensor& radius) {
    Tensor out = at::zeros_like(radius, at::kLong);
    for (const Tensor& part : points.split(rows_at_once)) {
      out += (distances(part, support) <= radius.unsqueeze(0)).sum(0);
    }
    return out;
  }

  int64_t k_, most_;
  bool density_coverage_;
};

RETORT_PLUGIN(PrecisionRecall, metric, precision_recall)
