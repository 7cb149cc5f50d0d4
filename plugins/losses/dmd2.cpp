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

#include <ATen/ATen.h>

#include "noise_times.h"

using namespace retort;

class Dmd2 final : public Loss {
 public:
  explicit Dmd2(Params& p)
      : times_(p),
        student_every_(p.get("student_every", 5, "steps of the fake network to one of the student", at_least(1))),
        fake_rate_(p.get("fake_learning_rate", 0.0, "of the fake network; 0: the student's", at_least(0))),
        fake_edm_weight_(p.choice("fake_weight", "edm", {"edm", "one"},
                                  "of the fake network's squared error: edm: 1 / s^2 + 1 / sigma_data^2, s the noise "
                                  "level; one: 1") == "edm"),
        norm_eps_(p.get("norm_eps", 1e-6, "added to mean |x - D_teacher|", at_least(0))),
        gan_weight_(p.get("gan_weight", 0.0, "of the student's loss before the discriminator; 0: none", at_least(0))),
        discriminator_rate_(
            p.get("discriminator_learning_rate", 0.0, "of the discriminator; 0: the student's", at_least(0))) {
    if (p.is_describing() || gan_weight_ > 0) {
      discriminator_ = p.plugin<Network>("discriminator", "unet", "gan_weight > 0: the network of the discriminator");
    }
  }

  Makes makes() const override { return Makes::generator; }
  Needs needs() const override { return {.teacher = true}; }
  std::vector<Role> roles() const override {
    std::vector<Role> out = {{.name = "student", .every = student_every_},
                             {.name = "fake", .start = Role::Start::teacher, .learning_rate = fake_rate_}};
    if (discriminator_) {
      out.push_back({.name = "discriminator",
                     .start = Role::Start::own,
                     .network = discriminator_,
                     .learning_rate = discriminator_rate_});
    }
    return out;
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Process& process = step.process;
    const Conditioning& condition = step.batch.condition;
    const double first =  // where samplers begin
        step.schedule != nullptr ? step.schedule->times(process, step.progress)[0].item<double>() : process.t_max();
    const Tensor top = at::full({step.batch.x.size(0)}, first, at::kDouble);
    const Tensor z = step.noise();
    const Tensor t = times_.draw(step);
    const Tensor noise = step.noise();
    Tensor x;
    {
      const at::AutoGradMode only_for_the_student(step.due("student"));
      x = step.student.endpoint(rows(process.sigma(top), z) * z, top, condition);
    }
    const Tensor x_t = process.add_noise(x, noise, t);
    LossValue out{{}, t};
    if (step.due("student")) {
      out.per_row = matching(step, x, x_t.detach(), t);
      if (discriminator_) {
        out.per_row = out.per_row + gan_weight_ * at::softplus(-logit(step, x_t, t));
      }
    }
    out.roles["fake"] = denoising(step.role("fake"), x.detach(), x_t.detach(), t, condition);
    if (discriminator_) {
      const Tensor real = process.add_noise(step.batch.x, noise, t);
      out.roles["discriminator"] = at::softplus(logit(step, x_t.detach(), t)) + at::softplus(-logit(step, real, t));
    }
    return out;
  }

 private:
  Tensor matching(const TrainingStep& step, const Tensor& x, const Tensor& x_t, const Tensor& t) const {
    Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      const Tensor teacher = step.ode->data(x_t, t);
      const Tensor fake = step.role("fake").data(x_t, t, step.batch.condition);
      const Tensor size = (x - teacher).abs().flatten(1).mean(1) + norm_eps_;
      wanted = x - (fake - teacher) / rows(size.to(at::kDouble), x);
    }
    return 0.5 * (x - wanted).square().flatten(1).mean(1);
  }

  Tensor denoising(const Model& fake, const Tensor& x, const Tensor& x_t, const Tensor& t,
                   const Conditioning& condition) const {
    const Tensor error = (fake.data(x_t, t, condition) - x).square().flatten(1).mean(1);
    if (!fake_edm_weight_) {
      return error;
    }
    const Tensor level = fake.process().noise_level(t);
    const double sd = fake.parametrisation().sigma_data;
    return error * (1 / level.square() + 1 / (sd * sd)).to(error.options());
  }

  static Tensor logit(const TrainingStep& step, const Tensor& x_t, const Tensor& t) {
    return step.role("discriminator").raw(x_t, t, step.batch.condition).flatten(1).mean(1);
  }

  NoiseTimes times_;
  int64_t student_every_;
  double fake_rate_;
  bool fake_edm_weight_;
  double norm_eps_, gan_weight_, discriminator_rate_;
  std::shared_ptr<Network> discriminator_;
};

RETORT_PLUGIN(Dmd2, loss, dmd2)
