/// Energy distance: the root of 2 E||X - Y|| - E||X - X'|| - E||Y - Y'||, X, X' samples and Y, Y' the reference.
///
/// It is a distance of distributions with nothing to choose: no kernel, no bandwidth. The expectations are means over
/// all pairs, each row with itself included, so the figure is never negative, and on the line it is scipy's
/// energy_distance, the root of 2 int (F - G)^2. It falls with the number of samples. The cost grows with `samples`
/// squared. Source: Szekely & Rizzo 2013 (J. Stat. Plan. Inference 143).
///
///     [evaluate]
///     metrics = ["energy_distance"]
///
///     [metric.energy_distance]
///     samples = 5000
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "../shared/draw.h"
#include "distances.h"

using namespace retort;

class EnergyDistance final : public Metric {
 public:
  explicit EnergyDistance(Params& p)
      : most_(p.get("samples", 5000, "at most so many samples of each, drawn from all", at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const auto some = [&](const Tensor& all) {
      return draw_rows(all, most_, evaluation.generator("energy distance")).to(at::kDouble);
    };
    const Tensor a = some(evaluation.sample_features()), b = some(evaluation.reference_features());
    const auto mean = [](const Tensor& x, const Tensor& y) {
      const auto pairs = static_cast<double>(x.size(0) * y.size(0));
      return sum_over_pairs(x, y, [](const Tensor& distance) { return distance; }) / pairs;
    };
    const double square = 2 * mean(a, b) - mean(a, a) - mean(b, b);
    return {{{"energy_distance", std::sqrt(std::max(0.0, square))}}, {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"energy_distance", 0}}; }
  bool symmetric() const override { return true; }

 private:
  int64_t most_;
};

RETORT_PLUGIN(EnergyDistance, metric, energy_distance)
