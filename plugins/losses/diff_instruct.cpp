/// Diff-Instruct: a generator of one step moves down the Kullback-Leibler divergence from the teacher's noised samples,
/// integrated over all noise levels.
///
/// A "fake" network learns to denoise the student's samples x, as in DMD2. The gradient of the integral in x is
/// w s^-2 (D_fake - D_teacher) at a noised sample x_t of noise level s, as scores are (alpha D - x_t) / sigma^2. The
/// student's value is half the square of that step, whose gradient is the step.
/// Source: Luo et al. 2023, arXiv 2305.18455, theorem 3.1 and algorithm 1.
///
///     [loss]
///     type = "diff_instruct"
///     student_every = 1
///     weight = "level_squared"       # w = s^2, as its authors' code has it; "one": the divergence itself
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "fake_score.h"

using namespace retort;

class DiffInstruct final : public Loss {
 public:
  explicit DiffInstruct(Params& p)
      : fake_(p),
        one_(p.choice("weight", "level_squared", {"level_squared", "one"},
                      "w of a noise level s in the integral of the divergence: level_squared: s^2; one: 1") == "one") {}

  Makes makes() const override { return Makes::generator; }
  Needs needs() const override { return {.teacher = true}; }
  std::vector<Role> roles() const override { return fake_.roles(); }

  LossValue operator()(const TrainingStep& step) const override {
    const FakeSample sample = fake_.draw(step);
    LossValue out{{}, sample.t};
    if (step.due("student")) {
      const TwoScores said(step, sample);
      const Tensor difference = said.fake - said.teacher;
      out.per_row = moved_against(
          one_ ? difference / rows(step.process.noise_level(sample.t).square(), sample.x) : difference, sample.x);
    }
    out.roles["fake"] = fake_.denoising(step, sample);
    return out;
  }

 private:
  FakeScore fake_;
  bool one_;
};

RETORT_PLUGIN(DiffInstruct, loss, diff_instruct)
