/// Progressive distillation: a student of half the steps, again and again.
///
/// Training is cut into stages. In each, one DDIM step of the student over an interval of the grid is to lead where two
/// of the stage's teacher lead: in the first stage that is [teacher], afterwards what the student was when the stage
/// began. The schedule is the grid of the first teacher; after the k-th stage a step of the student spans 2^k of its
/// intervals, whose number must be a multiple of 2^stages. Rows weigh max(SNR, 1).
/// Source: Salimans & Ho 2022 (arXiv 2202.00512), algorithm 2 and section 4.
///
///     [loss]
///     type = "progressive_distillation"
///     stages = 3
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "consistency_step.h"

using namespace retort;

class ProgressiveDistillation final : public Loss {
 public:
  explicit ProgressiveDistillation(Params& p)
      : distance_(p), stages_(p.get("stages", 1, "halvings of the number of steps", between(1, 20))) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return {.teacher = true, .schedule = true}; }
  int64_t stages() const override { return stages_; }
  std::vector<Role> roles() const override {
    return stages_ > 1 ? std::vector<Role>{{.name = "teacher", .update = Role::Update::stage}} : std::vector<Role>{};
  }

  void check_times(const Tensor& times) const override {
    const int64_t intervals = times.size(0) - 1, multiple = int64_t{1} << stages_;
    if (intervals % multiple != 0) {
      throw Error("stages = " + std::to_string(stages_) + ": the schedule's " + std::to_string(intervals) +
                  " intervals cannot be halved so often; expected a multiple of " + std::to_string(multiple));
    }
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const int64_t span = int64_t{2} << step.stage;
    const Tensor index = step.intervals((grid.size(0) - 1) / span) * span;
    const auto at = [&](int64_t offset) { return Times(step.process, grid.index_select(0, index + offset)); };
    const Times t = at(0), middle = at(span / 2), s = at(span);
    const Tensor x = step.process.add_noise(step.batch.x, step.noise(), t.t());
    const Tensor target = data_that_leads_to(t, s, x, two_steps(step, t, middle, s, x));
    const Tensor distance = distance_(step.student.data(x, t.t(), step.batch.condition), target);
    const Tensor snr = (t.alpha() / t.sigma()).square();
    return {distance * snr.clamp_min(1).to(distance.options()), t.t()};
  }

 private:
  static Tensor two_steps(const TrainingStep& step, const Times& t, const Times& middle, const Times& s,
                          const Tensor& x) {
    const at::NoGradGuard no_grad;
    const auto data = [&](const Tensor& state, const Times& time) {
      return step.stage == 0 ? step.ode->data(state, time.t())
                             : step.role("teacher").data(state, time.t(), step.batch.condition);
    };
    const Tensor half = ddim_step(t, middle, x, data(x, t));
    return ddim_step(middle, s, half, data(half, middle));
  }

  // The D with which one DDIM step from x at t comes out at `end` at s.
  static Tensor data_that_leads_to(const Times& t, const Times& s, const Tensor& x, const Tensor& end) {
    const at::NoGradGuard no_grad;
    const Tensor ratio = s.sigma() / t.sigma();
    const Tensor factor = 1 / (s.alpha() - ratio * t.alpha());
    return rows(factor, x) * end - rows(ratio * factor, x) * x;
  }

  Distance distance_;
  int64_t stages_;
};

RETORT_PLUGIN(ProgressiveDistillation, loss, progressive_distillation)
