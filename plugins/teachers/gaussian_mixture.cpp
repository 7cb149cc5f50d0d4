/// The exact diffusion model of a Gaussian mixture: no network and no error, in any dimension and on any process.
///
/// Diffusing component k gives N(alpha mu_k, alpha^2 Sigma_k + sigma^2 I), so posterior means of data and noise are
/// known in closed form, as is log p_t(x). It is the teacher that solvers and losses are tested with.
///
///     [teacher]
///     type = "gaussian_mixture"
///     layout = "ring"
///     modes = 8
///     std = 0.06
#include <retort/plugin.h>
#include <retort/host.h>
#include <retort/teacher.h>

#include "../shared/mixture.h"

using namespace retort;

class GaussianMixture final : public Teacher {
 public:
  explicit GaussianMixture(Params& p) : mixture_(p) {
    if (!p.is_describing()) {
      process_ = p.host().process();
    }
  }

  const Process& process() const override { return process_; }
  // v stays exact at both ends, alpha = 0 and sigma = 0.
  Parametrisation parametrisation() const override { return {Predicts::v, 1.0}; }
  std::vector<int64_t> shape() const override { return {mixture_.dimension()}; }

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning&) const override {
    const At at(*this, x, t);
    const Tensor alpha = at.alpha, sigma = at.sigma;
    const Tensor responsibility = at::softmax(at.log_joint, 1).unsqueeze(2);  // [B, K, 1]
    // In the component's own axes: E[x0 - mu | x, k] = alpha v u, E[n | x, k] = sigma u, u = (x - alpha mu) / var
    const Tensor along = at.rotated / at.variance;
    const Tensor data = mixture_.means + back(alpha * mixture_.variances * along);
    const Tensor noise = back(sigma * along);
    return (responsibility * (alpha * noise - sigma * data)).sum(1).to(x.scalar_type()).view(x.sizes());
  }

  Tensor log_density(const Tensor& x, const Tensor& t) const override {
    return at::logsumexp(At(*this, x, t).log_joint, 1);
  }

 private:
  // Distances of x: [B, D] from each diffused component, in float64.
  struct At {
    At(const GaussianMixture& teacher, const Tensor& x, const Tensor& t)
        : alpha(teacher.process_.alpha(t).view({-1, 1, 1})), sigma(teacher.process_.sigma(t).view({-1, 1, 1})) {
      const Mixture& m = teacher.mixture_;
      const Tensor offset = x.to(at::kDouble).flatten(1).unsqueeze(1) - alpha * m.means;  // [B, K, D]
      rotated = m.bases.defined() ? at::einsum("bkd,kde->bke", {offset, m.bases}) : offset;
      variance = alpha * alpha * m.variances + sigma * sigma;
      log_joint = m.log_weights - 0.5 * (rotated * rotated / variance + (2 * std::numbers::pi * variance).log()).sum(2);
    }
    Tensor alpha, sigma;
    Tensor rotated;    // [B, K, D]
    Tensor variance;   // [B, K, D]
    Tensor log_joint;  // [B, K]
  };

  Tensor back(const Tensor& in_axes) const {
    return mixture_.bases.defined() ? at::einsum("bke,kde->bkd", {in_axes, mixture_.bases}) : in_axes;
  }

  Mixture mixture_;
  Process process_;
};

RETORT_PLUGIN(GaussianMixture, teacher, gaussian_mixture)
