/// Kernel distance: the unbiased squared maximum mean discrepancy under the kernel (<x, y> / d + 1)^3.
///
/// Mean over random subsets, with the standard deviation over them as kid_std; where one subset holds all that there
/// is, it is taken once, and there is no deviation to tell. It may fall slightly below zero.
///
/// Subsets that share samples are not independent, so kid_std does not say how far kid is from the truth. With
/// `confidence` the subsets are disjoint, so many as there are samples for, and kid_low to kid_high holds the truth
/// with about that probability, by Student's t; two subsets at least are needed. Figures of subsets are skew, so that
/// an interval of 0.95 over ten of them holds it in 0.91 of cases where both distributions are one. Source: Binkowski
/// et al. 2018 (arXiv 1801.01401), KID; Zaremba et al. 2013 (arXiv 1307.1954) for disjoint subsets.
///
///     [evaluate]
///     metrics = ["kid"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.kid]
///     subsets = 50
///     subset_size = 1000
///     confidence = 0.95              # 0: no interval, and subsets may share samples
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <boost/math/distributions/students_t.hpp>

using namespace retort;

class Kid final : public Metric {
 public:
  explicit Kid(Params& p)
      : subsets_(p.get("subsets", 50, "random subsets", at_least(1))),
        subset_size_(p.get("subset_size", 1000, "samples in each; fewer where there are fewer", at_least(2))),
        confidence_(p.get("confidence", 0.0, "of an interval of kid, from disjoint subsets; 0: none",
                          {.low = 0, .high = 1, .high_open = true})) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor a = evaluation.sample_features();
    const Tensor b = evaluation.reference_features();
    const int64_t m = std::min({subset_size_, a.size(0), b.size(0)});
    if (m < 2) {
      return {};
    }
    at::Generator generator = evaluation.generator("kid");
    const auto shuffled = [&](const Tensor& all) {
      return at::randperm(all.size(0), generator, at::TensorOptions().dtype(at::kLong)).to(all.device());
    };
    const bool disjoint = confidence_ > 0;
    const int64_t most = std::min(a.size(0), b.size(0)) / m;
    const int64_t subsets = disjoint ? std::min(subsets_, most) : (m == a.size(0) && m == b.size(0) ? 1 : subsets_);
    Tensor order_a, order_b;
    std::vector<double> values;
    for (int64_t i = 0; i < subsets; ++i) {
      if (i == 0 || !disjoint) {
        order_a = shuffled(a);
        order_b = shuffled(b);
      }
      const auto pick = [&](const Tensor& all, const Tensor& order) {
        return all.index_select(0, order.narrow(0, disjoint ? i * m : 0, m)).to(at::kDouble);
      };
      const Tensor x = pick(a, order_a);
      const Tensor y = pick(b, order_b);
      const auto n = static_cast<double>(m);
      const auto within = [&](const Tensor& z) {
        const Tensor k = kernel(z, z);
        return (k.sum() - k.trace()).item<double>() / (n * (n - 1));
      };
      values.push_back(within(x) + within(y) - 2 * kernel(x, y).mean().item<double>());
    }
    const Tensor all = at::tensor(values, at::kDouble);
    Measurement out{{{"kid", all.mean().item<double>()}}, {}};
    if (subsets > 1) {
      const double std = all.std().item<double>();
      out.values.emplace_back("kid_std", std);
      if (disjoint) {
        const boost::math::students_t distribution(static_cast<double>(subsets - 1));
        const double reach =
            boost::math::quantile(distribution, (1 + confidence_) / 2) * std / std::sqrt(static_cast<double>(subsets));
        out.values.emplace_back("kid_low", out.values[0].second - reach);
        out.values.emplace_back("kid_high", out.values[0].second + reach);
      }
    }
    return out;
  }

  bool symmetric() const override { return true; }

 private:
  static Tensor kernel(const Tensor& x, const Tensor& y) {
    return (at::matmul(x, y.t()) / static_cast<double>(x.size(1)) + 1).pow(3);
  }

  int64_t subsets_, subset_size_;
  double confidence_;
};

RETORT_PLUGIN(Kid, metric, kid)
