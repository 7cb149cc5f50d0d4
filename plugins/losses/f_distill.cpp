/// f-distill: distribution matching by any f-divergence of the noised data p from the student's noised samples q.
///
/// It is DMD2 whose step, D_fake - D_teacher over its mean size, is multiplied by h(r) = r^2 f''(r) of the density
/// ratio r = p / q at the noised sample. The discriminator knows r: its logit grows towards log r. With h = 1, the
/// reverse divergence, it is DMD2; where h grows with r, the student is drawn to data that it leaves out.
///
///     reverse_kl 1      kl r      jensen_shannon r / (1 + r)      softened_reverse_kl 1 / (1 + r)
///     jeffreys 1 + r    squared_hellinger sqrt(r)    neyman 1 / r    pearson r^2
///
/// Factors that do not depend on r are left out. r is kept between two bounds.
/// Source: Xu et al. 2025, arXiv 2502.15681, theorem 1 and table 1.
///
///     [loss]
///     type = "f_distill"
///     divergence = "jensen_shannon"
///     normalise = "batch"            # h over its mean of the batch, as the authors have it; of each process alone
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "fake_score.h"

using namespace retort;

class FDistill final : public Loss {
 public:
  explicit FDistill(Params& p)
      : fake_(p),
        norm_eps_(p.get("norm_eps", 1e-6, "added to mean |x - D_teacher|", at_least(0))),
        gan_weight_(p.get("gan_weight", 0.003, "of the student's loss before the discriminator", at_least(0))),
        discriminator_(p, true, "the network of the discriminator"),
        divergence_(p.choice("divergence", "jensen_shannon",
                             {"reverse_kl", "kl", "jensen_shannon", "softened_reverse_kl", "jeffreys",
                              "squared_hellinger", "neyman", "pearson"},
                             "of the data from the student's samples")),
        least_(p.get("ratio_min", 0.1, "least density ratio; lower ones count as it", more_than(0))),
        most_(p.get("ratio_max", 20.0, "greatest density ratio; higher ones count as it", more_than(0))),
        over_mean_(p.choice("normalise", "none", {"none", "batch"}, "batch: h is divided by its mean over the batch") ==
                   "batch") {
    if (least_ > most_) {
      throw p.error("ratio_min", "is above ratio_max; expected ratio_min <= ratio_max");
    }
  }

  Makes makes() const override { return Makes::generator; }
  Needs needs() const override { return {.teacher = true}; }
  std::vector<Role> roles() const override {
    std::vector<Role> out = fake_.roles();
    out.push_back(discriminator_.role());
    return out;
  }

  LossValue operator()(const TrainingStep& step) const override {
    const FakeSample sample = fake_.draw(step);
    LossValue out{{}, sample.t};
    if (step.due("student")) {
      const Tensor logit = discriminator_.logit(step, sample.x_t, sample.t);
      const Tensor h = weight(logit.detach());
      out.per_row = h * moved_against(TwoScores(step, sample).normalised(sample.x, norm_eps_), sample.x) +
                    gan_weight_ * at::softplus(-logit);
      out.diagnostics["h"] = h.mean();
    }
    out.roles["fake"] = fake_.denoising(step, sample);
    out.roles["discriminator"] = discriminator_.tell_apart(step, sample);
    return out;
  }

 private:
  Tensor weight(const Tensor& logit) const {
    const Tensor r = logit.clamp(std::log(least_), std::log(most_)).exp();
    const Tensor h = of(r);
    return over_mean_ ? h / h.mean() : h;
  }

  Tensor of(const Tensor& r) const {
    if (divergence_ == "kl") {
      return r;
    }
    if (divergence_ == "jensen_shannon") {
      return r / (1 + r);
    }
    if (divergence_ == "softened_reverse_kl") {
      return 1 / (1 + r);
    }
    if (divergence_ == "jeffreys") {
      return 1 + r;
    }
    if (divergence_ == "squared_hellinger") {
      return r.sqrt();
    }
    if (divergence_ == "neyman") {
      return 1 / r;
    }
    return divergence_ == "pearson" ? r.square() : at::ones_like(r);
  }

  FakeScore fake_;
  double norm_eps_, gan_weight_;
  Discriminator discriminator_;
  std::string divergence_;
  double least_, most_;
  bool over_mean_;
};

RETORT_PLUGIN(FDistill, loss, f_distill)
