/// Consistency distillation: the student agrees with its target one solver step further along the teacher's ODE.
///
/// Draws an interval (t, s) of the grid, noises the data to x_t, moves it by one step of the solver to x_s, and takes
/// the distance between f(x_t, t) and the target network's f(x_s, s), which carries no gradient. At the end of the grid
/// the target is x_s itself, f's boundary condition. The target network is the student with its gradient stopped
/// (Direct CM's baseline, latent consistency) or its moving average (Song et al. 2023).
/// Source: Song et al. 2023 (arXiv 2303.01469), algorithm 2.
///
///     [loss]
///     type = "cm"
///     distance = "pseudo_huber"      # or "l2", the default, or "l1"
///     target = "student"             # or "ema"
#include <retort/loss.h>
#include <retort/plugin.h>

#include "consistency_step.h"

using namespace retort;

class Cm final : public Loss {
 public:
  explicit Cm(Params& p)
      : distance_(p),
        ema_target_(p.choice("target", "student", {"student", "ema"},
                             "target network: the student, gradients stopped, or its moving average") == "ema"),
        target_ema_(
            p.get("target_ema", 0.95, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }
  std::vector<Role> roles() const override {
    return ema_target_ ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const NoisedSample at = draw_noised_sample(step);
    Tensor target;
    {
      const at::NoGradGuard no_grad;
      const Tensor x_s = take_step(*step.solver, *step.ode, at.x, at.t, at.s);
      target = by_rows(
          at.last, [&](const Tensor& i) { return x_s.index_select(0, i.to(x_s.device())); },
          [&](const Tensor& i) {
            return step.target.consistency(x_s.index_select(0, i.to(x_s.device())), at.s.index_select(0, i),
                                           step.batch.condition.select(i));
          });
    }
    const Tensor prediction = step.student.consistency(at.x, at.t, step.batch.condition);
    return {distance_(prediction, target), at.t};
  }

 private:
  Distance distance_;
  bool ema_target_;
  double target_ema_;
};

RETORT_PLUGIN(Cm, loss, cm)
