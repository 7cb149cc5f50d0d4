/// Denoising score matching, which trains teachers: the network's output regresses on what it should predict.
///
/// With parametrisation "edm" the squared error of F is EDM's loss, lambda(sigma) ||D - x0||^2 with
/// lambda = (sigma^2 + sd^2) / (sigma sd)^2; with "noise", "v" and "flow" it is the plain loss of DDPM, of v-prediction
/// and of flow matching. With `importance`, times are drawn in proportion to the size of the loss there.
/// Source: Karras et al. 2022, eq. 8 and table 1; Ho et al. 2020, eq. 14; Salimans & Ho 2022; Lipman et al. 2023;
/// Nichol & Dhariwal 2021 (arXiv 2102.09672), section 3.3.
///
///     [loss]
///     type = "denoising"
///     times = "lognormal"            # or "uniform", "logit_normal", "karras", …
///     label_dropout = 0.1
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "importance.h"
#include "noise_times.h"

using namespace retort;

class Denoising final : public Loss {
 public:
  explicit Denoising(Params& p)
      : distance_(p),
        times_(p),
        importance_(p),
        label_dropout_(p.get("label_dropout", 0.1,
                             "share of rows that lose their conditions (labels become \"no class\"), for guidance",
                             between(0, 1))) {}

  Makes makes() const override { return Makes::denoiser; }
  std::vector<Role> roles() const override { return importance_.roles(); }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor& x0 = step.batch.x;
    const Process& process = step.process;
    const Importance::Drawn drawn = importance_.draw(step, times_);
    const Tensor& t = drawn.t;
    const Tensor noise = step.noise();
    Conditioning condition = step.batch.condition;
    if (!condition.empty() && label_dropout_ > 0) {
      condition = without_condition(condition, step.spec.inputs, step.uniform() < label_dropout_);
    }
    const Model& model = step.student;
    const Tensor output = model.raw(process.add_noise(x0, noise, t), t, condition);
    return importance_.value(step, drawn, distance_(output, model.parametrisation().target(process, t, x0, noise)));
  }

 private:
  Distance distance_;
  NoiseTimes times_;
  Importance importance_;
  double label_dropout_;
};

RETORT_PLUGIN(Denoising, loss, denoising)
