/// Phased consistency model: M consistency functions, each for one phase of the ODE and up to where that ends.
///
/// The grid is cut into `phases`, at the times where a sampler of as many steps stops. Draws an interval (t, s), noises
/// the data to x_t, and moves it by one step of the solver to x_s. The student's DDIM step from x_t to the end of its
/// phase is to lead where the target network's leads from x_s; where s is that end, to x_s itself. The student is
/// sampled by the same jumps, without new noise between. Where the teacher has a guidance_range, each row has a weight
/// of its own, which the student is told.
///
/// With gan_weight a "discriminator" tells the student's ends of phases from the target's, both noised further to a
/// time of the phase, and the student also learns to deceive it, both by the hinge loss; its logit is the mean of what
/// its network says of a row.
/// Source: Wang et al. 2024 (arXiv 2405.18407), algorithm 1, and its adversarial consistency loss.
///
///     [loss]
///     type = "pcm"
///     phases = 4
///     distance = "pseudo_huber"
///     gan_weight = 0.1               # 0, the default: without a discriminator
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <cmath>

#include "noise_times.h"

using namespace retort;

class Pcm final : public Loss {
 public:
  explicit Pcm(Params& p)
      : distance_(p, "pseudo_huber"),
        phases_(p.get("phases", 4, "M; 1: one consistency function up to the end of the grid", at_least(1))),
        ema_target_(p.choice("target", "student", {"student", "ema"},
                             "target network: the student, gradients stopped, or its moving average") == "ema"),
        target_ema_(
            p.get("target_ema", 0.95, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})),
        gan_weight_(p.get("gan_weight", 0.0, "of the student's loss before the discriminator; 0: none", at_least(0))),
        discriminator_rate_(
            p.get("discriminator_learning_rate", 0.0, "of the discriminator; 0: the student's", at_least(0))) {
    if (p.is_describing() || gan_weight_ > 0) {
      discriminator_ = p.plugin<Network>("discriminator", "unet", "gan_weight > 0: the network of the discriminator");
    }
  }

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return {.teacher = true, .solver = true, .schedule = true}; }
  std::vector<Role> roles() const override {
    std::vector<Role> out;
    if (ema_target_) {
      out.push_back(target_average(target_ema_));
    }
    if (discriminator_) {
      out.push_back({.name = "discriminator",
                     .start = Role::Start::own,
                     .network = discriminator_,
                     .learning_rate = discriminator_rate_});
    }
    return out;
  }
  void check_times(const Tensor& times) const override {
    if (phases_ > times.size(0) - 1) {
      throw Error("phases = " + std::to_string(phases_) + ": are more than the schedule's " +
                  std::to_string(times.size(0) - 1) + " intervals; expected that many at most");
    }
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor grid = step.schedule->times(step.process, step.progress);
    const Tensor edges = edges_of(grid.size(0) - 1);
    const Tensor index = step.intervals(grid.size(0) - 1);
    const Tensor phase = at::searchsorted(edges, index, /*out_int32=*/false, /*right=*/true);  // 1 … M
    const Tensor edge = edges.index_select(0, phase);
    const Tensor t = grid.index_select(0, index), s = grid.index_select(0, index + 1);
    const Tensor end = grid.index_select(0, edge);
    const Tensor x = step.process.add_noise(step.batch.x, step.noise(), t);
    Tensor target;
    {
      const at::NoGradGuard no_grad;
      const Tensor x_s = take_step(*step.solver, *step.ode, x, t, s);
      target = by_rows(
          index + 1 == edge, [&](const Tensor& i) { return x_s.index_select(0, i.to(x_s.device())); },
          [&](const Tensor& i) {
            return step.target.jump(x_s.index_select(0, i.to(x_s.device())), s.index_select(0, i),
                                    end.index_select(0, i), step.batch.condition.select(i));
          });
    }
    const Tensor made = step.student.jump(x, t, end, step.batch.condition);
    LossValue out{distance_(made, target), t};
    if (discriminator_) {
      const Tensor begin = grid.index_select(0, edges.index_select(0, phase - 1));
      play(step, made, target, end, end + step.uniform() * (begin - end), out);
    }
    return out;
  }

 private:
  // Where the phases end, as places of the grid, 0 the beginning: [M + 1] int64. The sampler's rule.
  Tensor edges_of(int64_t intervals) const {
    std::vector<int64_t> out;
    for (int64_t k = 0; k <= phases_; ++k) {
      out.push_back(std::lround(static_cast<double>(k * intervals) / static_cast<double>(phases_)));
    }
    return at::tensor(out, at::kLong);
  }

  // Adds the discriminator's value, and the student's before it. Both states are at times `from`.
  void play(const TrainingStep& step, const Tensor& made, const Tensor& target, const Tensor& from, const Tensor& to,
            LossValue& out) const {
    const auto noised = [&](const Tensor& x) { return noised_further(step.process, x, step.noise(), from, to); };
    const Tensor real = noised(target), fake = noised(made);
    const auto logit = [&](const Tensor& x) {
      return step.role("discriminator").raw(x, to, step.batch.condition).flatten(1).mean(1);
    };
    out.per_row = out.per_row + gan_weight_ * (1 - logit(fake)).relu();
    out.roles["discriminator"] = (1 + logit(fake.detach())).relu() + (1 - logit(real)).relu();
  }

  Distance distance_;
  int64_t phases_;
  bool ema_target_;
  double target_ema_;
  double gan_weight_, discriminator_rate_;
  std::shared_ptr<Network> discriminator_;
};

RETORT_PLUGIN(Pcm, loss, pcm)
