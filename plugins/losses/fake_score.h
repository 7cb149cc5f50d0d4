/// What losses share that hold a one-step generator against the teacher by a "fake" network, the diffusion model of
/// what the student makes (Yin et al. 2023, arXiv 2311.18828; Luo et al. 2023, arXiv 2305.18455).
#pragma once

#include <retort/host.h>
#include <retort/loss.h>

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "noise_times.h"

namespace retort {

/// The student's sample of a step, and the same noised.
struct FakeSample {
  Tensor x, x_t;  // [B, …], differentiable where the student is due
  Tensor noise;   // [B, …] of x_t
  Tensor t;       // [B] float64
};

/// The times of pure noise, where samplers begin: [B] float64.
inline Tensor noisiest_times(const TrainingStep& step) {
  const double first = step.schedule != nullptr ? step.schedule->times(step.process, step.progress)[0].item<double>()
                                                : step.process.t_max();
  return at::full({step.batch.x.size(0)}, first, at::kDouble);
}

/// What the student makes of standard normal noise z in one step: [B, …], differentiable where it is due.
inline Tensor one_step(const TrainingStep& step, const Tensor& z) {
  const Tensor top = noisiest_times(step);
  const at::AutoGradMode only_for_the_student(step.due("student"));
  return step.student.endpoint(rows(step.process.sigma(top), z) * z, top, step.batch.condition);
}

/// The role "fake", which learns to denoise the student's samples, and the rhythm of both.
class FakeNetwork {
 public:
  /// From the keys `student_every`, `fake_learning_rate` and `fake_weight`.
  explicit FakeNetwork(Params& p, int64_t student_every = 5, const std::string& weight = "edm")
      : student_every_(
            p.get("student_every", student_every, "steps of the fake network to one of the student", at_least(1))),
        rate_(p.get("fake_learning_rate", 0.0, "of the fake network; 0: the student's", at_least(0))),
        weight_(p.choice("fake_weight", weight, {"edm", "one", "min_snr"},
                         "of the fake network's squared error: edm: 1 / s^2 + 1 / sigma_data^2, s the noise level; "
                         "one: 1; min_snr: 1 / s^2, 5 at most")) {}

  std::vector<Role> roles() const {
    return {{.name = "student", .every = student_every_},
            {.name = "fake", .start = Role::Start::teacher, .learning_rate = rate_}};
  }

  /// The fake network's own loss: [B].
  Tensor denoising(const TrainingStep& step, const FakeSample& sample) const {
    const Model& fake = step.role("fake");
    const Tensor data = fake.data(sample.x_t.detach(), sample.t, step.batch.condition);
    const Tensor error = (data - sample.x.detach()).square().flatten(1).mean(1);
    if (weight_ == "one") {
      return error;
    }
    const Tensor inverse = 1 / fake.process().noise_level(sample.t).square();
    const double sd = fake.parametrisation().sigma_data;
    return error * (weight_ == "edm" ? inverse + 1 / (sd * sd) : inverse.clamp_max(5)).to(error.options());
  }

 private:
  int64_t student_every_;
  double rate_;
  std::string weight_;
};

/// It, for samples of one step that are noised to times of a density.
class FakeScore : public FakeNetwork {
 public:
  /// From the keys of NoiseTimes and of FakeNetwork.
  explicit FakeScore(Params& p) : FakeScore(NoiseTimes(p), p) {}

  FakeSample draw(const TrainingStep& step) const {
    FakeSample out;
    const Tensor z = step.noise();
    out.t = times_.draw(step);
    out.noise = step.noise();
    out.x = one_step(step, z);
    out.x_t = step.process.add_noise(out.x, out.noise, out.t);
    return out;
  }

 private:
  FakeScore(NoiseTimes times, Params& p) : FakeNetwork(p), times_(std::move(times)) {}

  NoiseTimes times_;
};

/// What both diffusion models say of a noised sample, without gradients.
struct TwoScores {
  Tensor teacher, fake;  // the predicted data: [B, …]

  TwoScores(const TrainingStep& step, const FakeSample& sample) {
    const at::NoGradGuard no_grad;
    const Tensor x_t = sample.x_t.detach();
    teacher = step.ode->data(x_t, sample.t);
    fake = step.role("fake").data(x_t, sample.t, step.batch.condition);
  }
  /// D_fake - D_teacher over the mean of |x - D_teacher|, as DMD normalises it (eq. 7 and 8).
  Tensor normalised(const Tensor& x, double eps) const {
    const at::NoGradGuard no_grad;
    const Tensor size = (x - teacher).abs().flatten(1).mean(1) + eps;
    return (fake - teacher) / rows(size.to(at::kDouble), x);
  }
};

/// Half the mean squared error of x to x - direction: [B]. A step down it moves x against the direction.
inline Tensor moved_against(const Tensor& direction, const Tensor& x) {
  const Tensor wanted = (x - direction).detach();
  return 0.5 * (x - wanted).square().flatten(1).mean(1);
}

/// The role "discriminator", which tells noised samples from noised data. Its logit, the mean of what its network says
/// of a row, grows towards log(p_data / p_student).
class Discriminator {
 public:
  /// From the keys `discriminator_learning_rate` and, where it is wanted, `discriminator`.
  Discriminator(Params& p, bool wanted, const char* doc)
      : rate_(p.get("discriminator_learning_rate", 0.0, "of the discriminator; 0: the student's", at_least(0))) {
    if (p.is_describing() || wanted) {
      const bool points = !p.is_describing() && p.host().spec().shape.size() == 1;
      network_ = p.plugin<Network>("discriminator", points ? "mlp" : "unet", doc);
    }
  }

  bool wanted() const { return network_ != nullptr; }
  Role role() const {
    return {.name = "discriminator", .start = Role::Start::own, .network = network_, .learning_rate = rate_};
  }

  Tensor logit(const TrainingStep& step, const Tensor& x_t, const Tensor& t) const {
    return step.role("discriminator").raw(x_t, t, step.batch.condition).flatten(1).mean(1);
  }
  /// The student's loss before it, and its own: [B] (Goodfellow et al. 2014, in its non-saturating form).
  Tensor deceive(const TrainingStep& step, const FakeSample& sample) const {
    return at::softplus(-logit(step, sample.x_t, sample.t));
  }
  Tensor tell_apart(const TrainingStep& step, const FakeSample& sample) const {
    const Tensor real = step.process.add_noise(step.batch.x, sample.noise, sample.t);
    return at::softplus(logit(step, sample.x_t.detach(), sample.t)) + at::softplus(-logit(step, real, sample.t));
  }

 private:
  double rate_;
  std::shared_ptr<Network> network_;
};

}  // namespace retort
