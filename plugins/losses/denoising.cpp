/// Denoising score matching, which trains teachers: the network's output regresses on what it should predict.
///
/// With parametrisation "edm" the squared error of F is EDM's loss, lambda(sigma) ||D - x0||^2 with
/// lambda = (sigma^2 + sd^2) / (sigma sd)^2; with "noise", "v" and "flow" it is the plain loss of DDPM, of v-prediction
/// and of flow matching.
/// Source: Karras et al. 2022, eq. 8 and table 1; Ho et al. 2020, eq. 14; Salimans & Ho 2022; Lipman et al. 2023.
///
///     [loss]
///     type = "denoising"
///     times = "lognormal"            # or "uniform", "logit_normal", "karras", …
///     label_dropout = 0.1
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include "noise_times.h"

using namespace retort;

class Denoising final : public Loss {
 public:
  explicit Denoising(Params& p)
      : distance_(p),
        times_(p),
        label_dropout_(p.get("label_dropout", 0.1,
                             "share of rows that lose their conditions (labels become \"no class\"), for guidance",
                             between(0, 1))) {}

  Makes makes() const override { return Makes::denoiser; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor& x0 = step.batch.x;
    const Process& process = step.process;
    const Tensor t = times_.draw(step);
    const Tensor noise = step.noise();
    Conditioning condition = step.batch.condition;
    if (!condition.empty() && label_dropout_ > 0) {
      condition = without_condition(condition, step.spec.inputs, step.uniform() < label_dropout_);
    }
    const Model& model = step.student;
    const Tensor output = model.raw(process.add_noise(x0, noise, t), t, condition);
    return {distance_(output, model.parametrisation().target(process, t, x0, noise)), t};
  }

 private:
  Distance distance_;
  NoiseTimes times_;
  double label_dropout_;
};

RETORT_PLUGIN(Denoising, loss, denoising)
