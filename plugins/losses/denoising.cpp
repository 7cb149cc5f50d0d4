/// Denoising score matching, which trains teachers: the network's output regresses on what it should predict.
///
/// With parametrisation "edm" the squared error of F is EDM's loss, lambda(sigma) ||D - x0||^2 with
/// lambda = (sigma^2 + sd^2) / (sigma sd)^2; with "noise", "v" and "flow" it is the plain loss of DDPM, of v-prediction
/// and of flow matching.
/// Source: Karras et al. 2022, eq. 8 and table 1; Ho et al. 2020, eq. 14; Salimans & Ho 2022; Lipman et al. 2023.
///
///     [loss]
///     type = "denoising"
///     times = "lognormal"            # or "uniform"
///     label_dropout = 0.1
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class Denoising final : public Loss {
 public:
  explicit Denoising(Params& p)
      : distance_(p),
        lognormal_(p.choice("times", "lognormal", {"lognormal", "uniform"},
                            "how noise is drawn: log sigma normal (EDM), or t uniform (DDPM, flow matching)") ==
                   "lognormal"),
        mean_(p.get("log_sigma_mean", -1.2, "times = \"lognormal\": mean of log(sigma / alpha)")),
        std_(p.get("log_sigma_std", 1.2, "times = \"lognormal\": its standard deviation", more_than(0))),
        t_min_(p.get("t_min", 1e-3, "times = \"uniform\": least time, as a fraction of the noisiest", between(0, 1))),
        label_dropout_(
            p.get("label_dropout", 0.1, "share of rows that lose their conditions (labels become \"no class\"), for guidance", between(0, 1))) {}

  Objective objective() const override { return Objective::denoiser; }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor& x0 = step.batch.x;
    const int64_t whole = step.whole_rows();
    const Process& process = step.process;
    const auto options = at::TensorOptions().dtype(at::kDouble);
    Tensor t;
    if (lognormal_) {
      t = process.time_of_noise_level((step.part(at::randn({whole}, step.generator, options)) * std_ + mean_).exp());
    } else {
      t = (t_min_ + (1 - t_min_) * step.part(at::rand({whole}, step.generator, options))) * process.t_max();
    }
    const Tensor noise = step.noise();
    Conditioning condition = step.batch.condition;
    if (!condition.empty() && label_dropout_ > 0) {
      condition = without_condition(condition, step.spec.inputs,
                                    step.part(at::rand({whole}, step.generator, options)) < label_dropout_);
    }
    const Model& model = step.student;
    const Tensor output = model.raw(process.add_noise(x0, noise, t), t, condition);
    return {distance_(output, model.parametrisation().target(process, t, x0, noise)), t};
  }

 private:
  Distance distance_;
  bool lognormal_;
  double mean_, std_, t_min_, label_dropout_;
};

RETORT_PLUGIN(Denoising, loss, denoising)
