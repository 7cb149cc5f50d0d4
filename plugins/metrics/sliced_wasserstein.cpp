/// Sliced 2-Wasserstein distance between samples and reference, in the space of the samples.
///
/// The root of the mean, over random directions, of the squared distance between sorted projections. Of unequal numbers
/// the quantiles are compared, so that all rows count.
/// Source: Bonneel et al. 2015; Rabin et al. 2011.
///
///     [evaluate]
///     metrics = ["sliced_wasserstein"]
///
///     [metric.sliced_wasserstein]
///     directions = 256
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class SlicedWasserstein final : public Metric {
 public:
  explicit SlicedWasserstein(Params& p) : directions_(p.get("directions", 256, "random directions", at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor a = evaluation.samples().flatten(1).to(at::kDouble);
    const Tensor b = evaluation.reference().flatten(1).to(at::kDouble);
    const int64_t n = std::max(a.size(0), b.size(0));
    Tensor directions = at::randn({a.size(1), directions_}, evaluation.generator("sliced wasserstein"),
                                  at::TensorOptions().dtype(at::kDouble));
    directions = (directions / directions.norm(2, {0}, /*keepdim=*/true)).to(a.device());
    // Quantiles at (i + 1/2) / n; where one has fewer rows than the other, each of its rows stands for several.
    const auto project = [&](const Tensor& x) {
      const Tensor sorted = std::get<0>(at::matmul(x, directions).sort(0));
      const Tensor at =
          ((at::arange(n, at::kDouble) + 0.5) * (static_cast<double>(x.size(0)) / static_cast<double>(n)));
      return x.size(0) == n ? sorted : sorted.index_select(0, at.floor().to(at::kLong).to(x.device()));
    };
    return {{{"sliced_wasserstein", (project(a) - project(b)).square().mean().sqrt().item<double>()}}, {}};
  }

  std::vector<std::pair<std::string, double>> ideal() const override { return {{"sliced_wasserstein", 0}}; }
  bool symmetric() const override { return true; }

 private:
  int64_t directions_;
};

RETORT_PLUGIN(SlicedWasserstein, metric, sliced_wasserstein)
