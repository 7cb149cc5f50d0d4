/// Latent consistency distillation: consistency distillation of a guided teacher, whose weight the student is told.
///
/// It is `cm` with three differences. Each row has a guidance weight w of its own, which the teacher's step follows and
/// both networks are told as the input "guidance"; one student then serves all weights, at one evaluation a step. A
/// step of the solver spans `skip` intervals of the grid, so that the grid may have as many times as the teacher was
/// trained on. And the distance is pseudo-Huber's, the target a moving average.
///
/// The weights are drawn uniformly from the teacher's guidance_range, in the form of Imagen, w = 1 + omega: the paper's
/// omega in [2, 14] is [3, 15]. Without a range it is `cm` with `skip`. The paper's f is the student's boundary
/// "time_scaled". Whether times count from 0 or 1 is the schedule's and the preconditioning's: process "betas" with
/// preconditioning "discrete" is diffusers'.
/// Source: Luo et al. 2023 (arXiv 2310.04378), algorithm 1.
///
///     [loss]
///     type = "lcm"
///     skip = 20
///     target_ema = 0.95
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Lcm final : public Loss {
 public:
  explicit Lcm(Params& p)
      : distance_(p, "pseudo_huber"),
        skip_(p.get("skip", 1, "k: intervals of the grid that a step of the solver spans", at_least(1))),
        ema_target_(p.choice("target", "ema", {"ema", "student"},
                             "target network: the student's moving average, or the student, gradients stopped") ==
                    "ema"),
        target_ema_(
            p.get("target_ema", 0.95, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})) {}

  Makes makes() const override { return Makes::consistency; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }
  std::vector<Role> roles() const override {
    return ema_target_ ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }
  void check_times(const Tensor& times) const override {
    if (skip_ > times.size(0) - 1) {
      throw Error("skip = " + std::to_string(skip_) + ": is more than the schedule's " +
                  std::to_string(times.size(0) - 1) + " intervals; expected that many at most");
    }
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const int64_t starts = grid.size(0) - skip_;
    const Tensor index = step.intervals(starts);
    const Tensor t = grid.index_select(0, index), s = grid.index_select(0, index + skip_);
    const Tensor x = step.process.add_noise(step.batch.x, step.noise(), t);
    const Conditioning& condition = step.batch.condition;
    Tensor target;
    {
      const at::NoGradGuard no_grad;
      const Tensor x_s = take_step(*step.solver, *step.ode, x, t, s);
      target = by_rows(
          index == starts - 1, [&](const Tensor& i) { return x_s.index_select(0, i.to(x_s.device())); },
          [&](const Tensor& i) {
            return step.target.consistency(x_s.index_select(0, i.to(x_s.device())), s.index_select(0, i),
                                           condition.select(i));
          });
    }
    return {distance_(step.student.consistency(x, t, condition), target), t};
  }

 private:
  Distance distance_;
  int64_t skip_;
  bool ema_target_;
  double target_ema_;
};

RETORT_PLUGIN(Lcm, loss, lcm)
