/// Precision: the share of samples within the reference's manifold; recall: the share of the reference within theirs.
///
/// A manifold is the union of balls around its points, each reaching to the point's k-th nearest neighbour. Distances
/// are taken by differences, in float64, so that data far from the origin, or equal, are measured as well as any.
/// Source: Kynkaanniemi et al. 2019 (arXiv 1904.06991), eq. 1 and 2.
///
///     [evaluate]
///     metrics = ["precision_recall"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.precision_recall]
///     neighbours = 5
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "../shared/draw.h"

using namespace retort;

class PrecisionRecall final : public Metric {
 public:
  explicit PrecisionRecall(Params& p)
      : k_(p.get("neighbours", 5, "k", at_least(1))),
        most_(p.get("samples", 5000, "at most so many samples of each, drawn from all", at_least(2))) {}

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
    return {
        {{"precision", covered(samples, reference, reach)}, {"recall", covered(reference, samples, radii(samples))}},
        {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"precision", 1}, {"recall", 1}}; }

 private:
  static constexpr int64_t chunk = 1000;

  // By differences: |a|^2 + |b|^2 - 2 a b, LibTorch's choice for many rows, cancels.
  static Tensor distances(const Tensor& a, const Tensor& b) {
    constexpr int64_t by_differences = 2;
    return at::cdist(a, b, 2.0, by_differences);
  }

  // How far the ball around each point reaches: to its k-th nearest neighbour, the nearest being itself.
  Tensor radii(const Tensor& points) const {
    std::vector<Tensor> out;
    for (const Tensor& part : points.split(chunk)) {
      out.push_back(std::get<0>(distances(part, points).kthvalue(k_ + 1, 1)));
    }
    return at::cat(out);
  }

  // The share of `points` that lie in the manifold of `support`.
  static double covered(const Tensor& points, const Tensor& support, const Tensor& radius) {
    int64_t inside = 0;
    for (const Tensor& part : points.split(chunk)) {
      inside += (distances(part, support) <= radius.unsqueeze(0)).any(1).sum().item<int64_t>();
    }
    return static_cast<double>(inside) / static_cast<double>(points.size(0));
  }

  int64_t k_, most_;
};

RETORT_PLUGIN(PrecisionRecall, metric, precision_recall)
