/// The exact diffusion model of one isotropic Gaussian, N(mean, std^2 I).
///
/// Diffused, it is N(alpha mean, v I) with v = alpha^2 std^2 + sigma^2, so that E[n | x] = sigma (x - alpha mean) / v
/// and E[x0 | x] = mean + alpha std^2 (x - alpha mean) / v.
///
///     [teacher]
///     type = "@name@"
///     mean = [0.5, -0.2]
///     std = 0.4
#include <retort/host.h>
#include <retort/plugin.h>
#include <retort/teacher.h>

#include <ATen/ops/from_blob.h>

#include <numbers>

using namespace retort;

class @Name@ final : public Teacher {
 public:
  explicit @Name@(Params& p)
      : mean_(p.get("mean", std::vector<double>{0.5, -0.2}, "one number per dimension")),
        std_(p.get("std", 0.4, "standard deviation", more_than(0))) {
    if (!p.is_describing()) {  // `retort inspect` builds plugins without a host
      process_ = p.host().process();
    }
  }

  const Process& process() const override { return process_; }
  // What `predict` returns: here v = alpha eps - sigma x0, which is exact at both ends of any process.
  Parametrisation parametrisation() const override { return {Predicts::v, 1.0}; }
  std::vector<int64_t> shape() const override { return {static_cast<int64_t>(mean_.size())}; }

  // x: [B, D]; t: [B] float64.
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning&) const override {
    const Tensor alpha = process_.alpha(t).unsqueeze(1), sigma = process_.sigma(t).unsqueeze(1);
    const Tensor offset = (x.to(at::kDouble) - alpha * mean()) / variance(alpha, sigma);
    const Tensor noise = sigma * offset;
    const Tensor data = mean() + alpha * (std_ * std_) * offset;
    return (alpha * noise - sigma * data).to(x.scalar_type());
  }

  // log p_t(x), so that `retort check` can hold the prediction against a numerical score.
  Tensor log_density(const Tensor& x, const Tensor& t) const override {
    const Tensor alpha = process_.alpha(t).unsqueeze(1), sigma = process_.sigma(t).unsqueeze(1);
    const Tensor v = variance(alpha, sigma);
    return ((x.to(at::kDouble) - alpha * mean()).square() / v + (2 * std::numbers::pi * v).log()).sum(1) * -0.5;
  }

 private:
  Tensor mean() const {
    return at::from_blob(const_cast<double*>(mean_.data()), {static_cast<int64_t>(mean_.size())}, at::kDouble);
  }
  Tensor variance(const Tensor& alpha, const Tensor& sigma) const {
    return alpha.square() * (std_ * std_) + sigma.square();
  }

  std::vector<double> mean_;
  double std_;
  Process process_;
};

RETORT_PLUGIN(@Name@, teacher, @name@)
