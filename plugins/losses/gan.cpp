/// A discriminator before which the student's samples of one step are to pass for data: a term for a `sum`.
///
/// The role "discriminator" learns to tell them from data of the same conditions, and the student to deceive it. Both
/// are noised to a time that is drawn, which the discriminator is told: where there is much noise, samples that are far
/// from the data overlap with them, so that it has something to say. Its logit l is the mean of what its network says
/// of a row. With l of data and l' of samples:
///
///   form            the student's value       the discriminator's
///   non_saturating  log(1 + e^-l')            log(1 + e^l') + log(1 + e^-l)      (Goodfellow et al. 2014)
///   hinge           -l'                       max(0, 1 + l') + max(0, 1 - l)     (Lim & Ye 2017)
///   relativistic    log(1 + e^(l - l'))       log(1 + e^(l' - l))                (Jolicoeur-Martineau 2019)
///
/// r1_weight adds that many times the squared slope of l at data, which keeps it smooth. The slope is found from a
/// second look with a little noise, and needs no second derivative (Lin et al. 2025, arXiv 2501.08316). Beside `ctm`,
/// as in loss = [{ type = "ctm" }, { type = "gan", weight = 0.1 }], it is CTM's adversarial loss with a fixed weight
/// (Kim et al. 2023, arXiv 2310.02279); the noise is diffusion-GAN's (Wang et al. 2022, arXiv 2206.02262) and DMD2's.
///
///     [loss]
///     type = "gan"
///     form = "hinge"
///     discriminator = "mlp"          # the default for points; "unet" for pictures
///     r1_weight = 1.0
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <string>

#include "fake_score.h"

using namespace retort;

class Gan final : public Loss {
 public:
  explicit Gan(Params& p)
      : form_(p.choice("form", "non_saturating", {"non_saturating", "hinge", "relativistic"}, "of both values")),
        noised_(p.get("noised", true, "samples and data are noised before they are told apart; false: as they are")),
        times_(p),
        student_every_(p.get("student_every", 1, "steps of the discriminator to one of the student", at_least(1))),
        r1_weight_(p.get("r1_weight", 0.0, "of the squared slope of the discriminator at data; 0: none", at_least(0))),
        r1_std_(
            p.get("r1_std", 0.01, "r1_weight > 0: standard deviation of the noise that finds the slope", more_than(0))),
        discriminator_(p, true, "the network of the discriminator") {}

  Makes makes() const override { return Makes::generator; }
  std::vector<Role> roles() const override {
    return {{.name = "student", .every = student_every_}, discriminator_.role()};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor z = step.noise();
    const Pair both = noised(step, one_step(step, z));
    LossValue out{{}, noised_ ? both.t : Tensor()};
    const auto logit = [&](const Tensor& x) { return discriminator_.logit(step, x, both.t); };
    const Tensor of_data = logit(both.data);
    if (step.due("student")) {
      out.per_row = deceive(of_data.detach(), logit(both.made));
    }
    const Tensor of_made = logit(both.made.detach());
    Tensor own = tell_apart(of_data, of_made);
    if (r1_weight_ > 0) {
      const Tensor slope = (logit(both.data + r1_std_ * step.noise()) - of_data) / r1_std_;
      own = own + r1_weight_ * slope.square();
    }
    out.roles["discriminator"] = own;
    out.diagnostics["logit_of_data"] = of_data.detach().mean();
    out.diagnostics["logit_of_samples"] = of_made.detach().mean();
    return out;
  }

 private:
  struct Pair {
    Tensor made, data;  // [B, …], as the discriminator sees them
    Tensor t;           // [B] float64, as it is told
  };

  Pair noised(const TrainingStep& step, const Tensor& made) const {
    if (!noised_) {  // a network has to be told some level: that where samplers end
      const Tensor least = at::full({made.size(0)}, 0.002, at::kDouble);
      return {made, step.batch.x, step.process.time_of_noise_level(least)};
    }
    const Tensor t = times_.draw(step), noise = step.noise();
    return {step.process.add_noise(made, noise, t), step.process.add_noise(step.batch.x, noise, t), t};
  }

  Tensor deceive(const Tensor& of_data, const Tensor& of_made) const {
    if (form_ == "hinge") {
      return -of_made;
    }
    return at::softplus(form_ == "relativistic" ? of_data - of_made : -of_made);
  }

  Tensor tell_apart(const Tensor& of_data, const Tensor& of_made) const {
    if (form_ == "hinge") {
      return (1 + of_made).relu() + (1 - of_data).relu();
    }
    return form_ == "relativistic" ? at::softplus(of_made - of_data) : at::softplus(of_made) + at::softplus(-of_data);
  }

  std::string form_;
  bool noised_;
  NoiseTimes times_;
  int64_t student_every_;
  double r1_weight_, r1_std_;
  Discriminator discriminator_;
};

RETORT_PLUGIN(Gan, loss, gan)
