/// Score identity distillation: a generator of one step moves down the Fisher divergence between its noised samples and
/// the teacher's.
///
/// A "fake" network learns to denoise the student's samples x, as in DMD2. With d = D_teacher - D_fake at a noised
/// sample x_t, the student's value is the mean of d (D_teacher - x - alpha d), over the mean of |x - D_teacher|.
/// Gradients reach the student through x, and through x_t in both networks. But for that division and with an exact
/// fake network, the value's mean is (1 - alpha) E d^2, so it is below 0 for alpha > 1, and is no measure of progress.
/// The greater alpha is, the nearer to the teacher the student has to begin: on a Gaussian twice as wide as the
/// teacher's, alpha = 1 arrives and 1.2 diverges.
///
/// The teacher's weights learn nothing, and its Jacobian is symmetric, as that of a score: the gradient through it is
/// the derivative along a direction. A central difference of two evaluations finds that of any teacher, exact or
/// compiled; difference_step is half its width, in units of the noise.
/// Source: Zhou et al. 2024, arXiv 2404.04057, eq. 23 and algorithm 1.
///
///     [loss]
///     type = "sid"
///     alpha = 1.2                    # 1 to 1.2
///     student_every = 1
///     times = "karras"               # and sigma_max = 24.4: as the authors draw noise for the student
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "fake_score.h"

using namespace retort;

class Sid final : public Loss {
 public:
  explicit Sid(Params& p)
      : fake_(p),
        alpha_(p.get("alpha", 1.2, "of d (D_teacher - x - alpha d)", at_least(0))),
        norm_eps_(p.get("norm_eps", 1e-5, "least mean |x - D_teacher|", more_than(0))),
        step_(p.get("difference_step", 0.0,
                    "half the width of the difference along the teacher's derivative, of the noise; 0: the cube root "
                    "of the precision",
                    at_least(0))) {}

  Makes makes() const override { return Makes::generator; }
  Needs needs() const override { return {.teacher = true}; }
  std::vector<Role> roles() const override { return fake_.roles(); }

  LossValue operator()(const TrainingStep& step) const override {
    const FakeSample sample = fake_.draw(step);
    LossValue out{{}, sample.t};
    if (step.due("student")) {
      out.per_row = identity(step, sample);
    }
    out.roles["fake"] = fake_.denoising(step, sample);
    return out;
  }

 private:
  Tensor identity(const TrainingStep& step, const FakeSample& sample) const {
    const Tensor x_t = sample.x_t.detach();
    const Tensor teacher = step.ode->data(x_t, sample.t);
    const Tensor fake = step.role("fake").data(sample.x_t, sample.t, step.batch.condition);
    const Tensor d = teacher - fake, error = teacher - sample.x;
    const Tensor size = error.detach().abs().flatten(1).mean(1).clamp_min(norm_eps_);
    Tensor through_teacher;  // of d (error - alpha d) in x_t by D_teacher
    {
      const at::NoGradGuard no_grad;
      through_teacher = derivative(*step.ode, x_t, sample.t, error + (1 - 2 * alpha_) * d);
    }
    // The added term is zero, and has the gradient that the teacher cannot give.
    const Tensor value = d * (error - alpha_ * d) + through_teacher * (sample.x_t - x_t);
    return value.flatten(1).mean(1) / size;
  }

  // d/de D(x + e along, t) at e = 0.
  Tensor derivative(const Ode& ode, const Tensor& x, const Tensor& t, const Tensor& along) const {
    const double precision =
        x.scalar_type() == at::kDouble ? std::numeric_limits<double>::epsilon() : std::numeric_limits<float>::epsilon();
    const double part = step_ > 0 ? step_ : std::cbrt(precision);
    const Tensor length = along.to(at::kDouble).square().flatten(1).mean(1).sqrt().cpu();  // of one element
    const Tensor h = part * ode.process().sigma(t) / length.clamp_min(1e-20);
    const Tensor moved = rows(h, x) * along;
    return (ode.data(x + moved, t) - ode.data(x - moved, t)) / rows(2 * h, x);
  }

  FakeScore fake_;
  double alpha_, norm_eps_, step_;
};

RETORT_PLUGIN(Sid, loss, sid)
