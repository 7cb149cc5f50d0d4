/// Exact Wasserstein distances on the line, of each coordinate by itself.
///
/// On the line the best coupling keeps order, so W_p^p is the integral of |F^-1(u) - G^-1(u)|^p over u in (0, 1),
/// without error also of unequal numbers of rows. In one dimension wasserstein_1 and wasserstein_2 are the distances
/// themselves. In more they are (mean of W_p^p over coordinates)^(1/p), which sees marginals only: two sets with equal
/// marginals have distance 0 however their coordinates hang together, so look at sliced_wasserstein or sinkhorn too.
/// The series has each coordinate's W_1. Source: Villani 2003, theorem 2.18; Peyre & Cuturi 2019 (arXiv 1803.00567),
/// remark 2.30.
///
///     [evaluate]
///     metrics = ["wasserstein"]
///
///     [metric.wasserstein]
///     by_coordinate = 32             # a series where there are no more coordinates; 0: never
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Wasserstein final : public Metric {
 public:
  explicit Wasserstein(Params& p)
      : by_coordinate_(p.get("by_coordinate", 32,
                             "the series wasserstein_1_by_coordinate, where there are no more coordinates than this",
                             at_least(0))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const auto sorted = [](const Tensor& x) { return std::get<0>(x.flatten(1).to(at::kDouble).sort(0)); };
    const Tensor a = sorted(evaluation.samples()), b = sorted(evaluation.reference());
    // Quantile functions are steps; between two levels, i / n or j / m, both are constant. Levels times n m are whole.
    const int64_t n = a.size(0), m = b.size(0);
    const Tensor levels =
        std::get<0>(at::_unique(at::cat({at::arange(1, n + 1, at::kLong) * m, at::arange(1, m + 1, at::kLong) * n})));
    const Tensor weights = at::diff(levels, 1, 0, at::zeros({1}, at::kLong)).to(at::kDouble) /
                           (static_cast<double>(n) * static_cast<double>(m));
    const auto quantiles = [&](const Tensor& x, int64_t step) {
      return x.index_select(0, at::floor_divide(levels - 1, step).to(x.device()));
    };
    const Tensor apart = (quantiles(a, m) - quantiles(b, n)).abs();  // [levels, D]
    const Tensor w = weights.to(apart.device()).unsqueeze(1);
    const Tensor first = (w * apart).sum(0);  // W_1 of each coordinate
    const Tensor second = (w * apart.square()).sum(0);
    Measurement out;
    out.values.emplace_back("wasserstein_1", first.mean().item<double>());
    out.values.emplace_back("wasserstein_2", second.mean().sqrt().item<double>());
    if (first.size(0) > 1 && first.size(0) <= by_coordinate_) {
      auto& points = out.series["wasserstein_1_by_coordinate"];
      for (int64_t i = 0; i < first.size(0); ++i) {
        points.emplace_back(static_cast<double>(i), first[i].item<double>());
      }
    }
    return out;
  }

  std::vector<std::pair<std::string, double>> ideal() const override {
    return {{"wasserstein_1", 0}, {"wasserstein_2", 0}};
  }
  bool symmetric() const override { return true; }

 private:
  int64_t by_coordinate_;
};

RETORT_PLUGIN(Wasserstein, metric, wasserstein)
