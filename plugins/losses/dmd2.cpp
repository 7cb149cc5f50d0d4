/// Distribution matching distillation: a generator of one step, whose samples the teacher cannot tell from its own.
///
/// Beside the student, which makes x from pure noise in one step, a "fake" network learns to denoise those samples. At
/// a noised sample x_t the student moves against d = (D_fake - D_teacher) / mean |x - D_teacher|, by half the squared
/// error to x - d. The fake network learns at every step, the student at every `student_every`-th. With gan_weight a
/// "discriminator" tells noised samples from noised data, and the student also learns to deceive it; its logit is the
/// mean of what its network says of a row.
/// Source: Yin et al. 2024 (DMD2, arXiv 2405.14867), section 4; Yin et al. 2023 (DMD, arXiv 2311.18828), eq. 7 and 8.
///
///     [loss]
///     type = "dmd2"
///     student_every = 5
///     gan_weight = 0.003             # 0, the default: without a discriminator
#include <retort/loss.h>
#include <retort/plugin.h>

#include "fake_score.h"

using namespace retort;

class Dmd2 final : public Loss {
 public:
  explicit Dmd2(Params& p)
      : fake_(p),
        norm_eps_(p.get("norm_eps", 1e-6, "added to mean |x - D_teacher|", at_least(0))),
        gan_weight_(p.get("gan_weight", 0.0, "of the student's loss before the discriminator; 0: none", at_least(0))),
        discriminator_(p, gan_weight_ > 0, "gan_weight > 0: the network of the discriminator") {}

  Makes makes() const override { return Makes::generator; }
  Needs needs() const override { return {.teacher = true}; }
  std::vector<Role> roles() const override {
    std::vector<Role> out = fake_.roles();
    if (discriminator_.wanted()) {
      out.push_back(discriminator_.role());
    }
    return out;
  }

  LossValue operator()(const TrainingStep& step) const override {
    const FakeSample sample = fake_.draw(step);
    LossValue out{{}, sample.t};
    if (step.due("student")) {
      out.per_row = moved_against(TwoScores(step, sample).normalised(sample.x, norm_eps_), sample.x);
      if (discriminator_.wanted()) {
        out.per_row = out.per_row + gan_weight_ * discriminator_.deceive(step, sample);
      }
    }
    out.roles["fake"] = fake_.denoising(step, sample);
    if (discriminator_.wanted()) {
      out.roles["discriminator"] = discriminator_.tell_apart(step, sample);
    }
    return out;
  }

 private:
  FakeScore fake_;
  double norm_eps_, gan_weight_;
  Discriminator discriminator_;
};

RETORT_PLUGIN(Dmd2, loss, dmd2)
