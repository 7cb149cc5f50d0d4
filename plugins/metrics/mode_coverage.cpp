/// How samples lie on the modes of a known Gaussian mixture: which are hit, how well, and in what proportions.
///
/// A sample belongs to the component that is nearest in units of its own deviations (Mahalanobis distance), and is of
/// high quality within `sigmas` of it. modes_covered is the share of components with at least `least` such samples,
/// high_quality the share of such samples, mode_entropy the entropy in nats of their assignment to components, and
/// mode_kl the divergence of that assignment from the weights. mixture_nll is the mean of -log p of all samples under
/// the mixture. Of d dimensions a share chi^2_d(sigmas^2) of true samples is of high quality: for 3, 0.997 on the line,
/// 0.989 in the plane. The mixture is described here as in [dataset] or [teacher]. Source: the measures of Srivastava
/// et al. 2017 (VEEGAN, arXiv 1705.07761) and Lin et al. 2018 (PacGAN, arXiv 1712.04086) on synthetic data.
///
///     [evaluate]
///     metrics = ["mode_coverage"]
///
///     [metric.mode_coverage]
///     sigmas = 3.0
///     layout = "ring"
///     modes = 8
///     std = 0.06
#include <retort/metric.h>
#include <retort/plugin.h>

#include "../shared/mixture.h"

using namespace retort;

class ModeCoverage final : public Metric {
 public:
  explicit ModeCoverage(Params& p)
      : mixture_(p),
        sigmas_(p.get("sigmas", 3.0, "how far a sample of high quality may be from its component", more_than(0))),
        least_(p.get("least", 1, "samples of high quality that cover a component", at_least(1))) {}

  Measurement measure(const Evaluation& evaluation) const override {
    const Tensor x = evaluation.samples().flatten(1).to(at::kCPU, at::kDouble);
    if (x.size(1) != mixture_.dimension()) {
      throw RequestError("the mixture is of dimension " + std::to_string(mixture_.dimension()) +
                         ", and samples are of dimension " + std::to_string(x.size(1)) +
                         "; describe it in [metric.mode_coverage] as in [dataset]");
    }
    const int64_t modes = mixture_.components();
    std::vector<Tensor> squares, log_joint;  // [n] for each component
    for (int64_t k = 0; k < modes; ++k) {
      const Tensor offset = x - mixture_.means[k];
      const Tensor along = mixture_.bases.defined() ? at::matmul(offset, mixture_.bases[k]) : offset;
      const Tensor variance = mixture_.variances[k];
      squares.push_back((along.square() / variance).sum(1));
      log_joint.push_back(mixture_.log_weights[k] - 0.5 * squares.back() -
                          0.5 * (2 * std::numbers::pi * variance).log().sum());
    }
    const auto [nearest, component] = at::stack(squares, 1).min(1);
    const Tensor good = nearest <= sigmas_ * sigmas_;
    const Tensor counts = component.masked_select(good).bincount({}, modes).to(at::kDouble);
    Measurement out;
    out.values.emplace_back("modes_covered", (counts >= least_).to(at::kDouble).mean().item<double>());
    out.values.emplace_back("high_quality", good.to(at::kDouble).mean().item<double>());
    if (good.any().item<bool>()) {  // else there is no assignment
      const Tensor share = counts / counts.sum();
      out.values.emplace_back("mode_entropy", -at::xlogy(share, share).sum().item<double>());
      out.values.emplace_back("mode_kl", (at::xlogy(share, share) - share * mixture_.log_weights).sum().item<double>());
    }
    out.values.emplace_back("mixture_nll", -at::logsumexp(at::stack(log_joint, 1), 1).mean().item<double>());
    return out;
  }

 private:
  Mixture mixture_;
  double sigmas_;
  int64_t least_;
};

RETORT_PLUGIN(ModeCoverage, metric, mode_coverage)
