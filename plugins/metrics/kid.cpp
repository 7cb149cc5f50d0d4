/// Kernel distance: the unbiased squared maximum mean discrepancy under the kernel (<x, y> / d + 1)^3.
///
/// Mean over random subsets, with the standard deviation over them as kid_std; where one subset holds all that there
/// is, it is taken once, and there is no deviation to tell. It may fall slightly below zero. Source: Binkowski et al.
/// 2018 (arXiv 1801.01401), KID.
///
///     [evaluate]
///     metrics = ["kid"]
///     features = "weights/fashion_mnist_classifier.safetensors"
///
///     [metric.kid]
///     subsets = 50
///     subset_size = 1000
#include <retort/metric.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Kid final : public Metric {
 public:
  explicit Kid(Params& p)
      : subsets_(p.get("subsets", 50, "random subsets", at_least(1))),
        subset_size_(p.get("subset_size", 1000, "samples in each; fewer where there are fewer", at_least(2))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor a = evaluation.sample_features();
    const Tensor b = evaluation.reference_features();
    const int64_t m = std::min({subset_size_, a.size(0), b.size(0)});
    if (m < 2) {
      return {};
    }
    at::Generator generator = evaluation.generator("kid");
    std::vector<double> values;
    const int64_t subsets = m == a.size(0) && m == b.size(0) ? 1 : subsets_;
    for (int64_t i = 0; i < subsets; ++i) {
      const auto pick = [&](const Tensor& all) {
        const Tensor order = at::randperm(all.size(0), generator, at::TensorOptions().dtype(at::kLong));
        return all.index_select(0, order.narrow(0, 0, m).to(all.device())).to(at::kDouble);
      };
      const Tensor x = pick(a);
      const Tensor y = pick(b);
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
      out.values.emplace_back("kid_std", all.std().item<double>());
    }
    return out;
  }

  bool symmetric() const override { return true; }

 private:
  static Tensor kernel(const Tensor& x, const Tensor& y) {
    return (at::matmul(x, y.t()) / static_cast<double>(x.size(1)) + 1).pow(3);
  }

  int64_t subsets_, subset_size_;
};

RETORT_PLUGIN(Kid, metric, kid)
