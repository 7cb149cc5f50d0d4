/// Shortcut model: a flow map that agrees with two jumps of its own of half the length; from data, without a teacher.
///
/// The student says the average velocity u(x, t, s) over a jump from t to s. Most rows are flow matching: the finest
/// jump, held to the velocity of the data. A share of rows is bootstrapped: a jump of length d = 2^-k of [0, t_max], k
/// from 0 to log2(finest) - 1, is held to the mean of the two jumps of half that length which the target network makes
/// from the same state. Such a jump begins at a multiple of d, so no jump leads beyond the data. What the finest jump
/// is told says `finest_jump`: "zero", that it ends where it begins, or "step", that its length is 1 / finest.
/// Source: Frans et al. 2024 (arXiv 2410.12557), algorithm 1. Its authors' code has finest_jump "step", bootstrap_share
/// 0.125 and clip 4.
///
///     [loss]
///     type = "shortcut"
///     bootstrap_share = 0.25
///     finest = 128
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

#include <bit>

using namespace retort;

class Shortcut final : public Loss {
 public:
  explicit Shortcut(Params& p)
      : distance_(p),
        share_(p.get("bootstrap_share", 0.25, "share of rows that are held to the student's own jumps", between(0, 1))),
        finest_(p.get("finest", 128, "jumps of the finest grid, a power of two", at_least(2))),
        told_zero_(p.choice("finest_jump", "zero", {"zero", "step"},
                            "where the finest jump is told to end: zero: where it begins; step: one of `finest` steps "
                            "further") == "zero"),
        clip_(p.get("clip", 0.0, "bounds of states and targets of bootstrapped rows; 0: none", at_least(0))),
        ema_target_(p.choice("target", "ema", {"ema", "student"},
                             "who jumps twice: the student's moving average, or the student") == "ema"),
        target_ema_(
            p.get("target_ema", 0.999, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})) {
    if (!std::has_single_bit(static_cast<uint64_t>(finest_))) {
      throw p.error("finest", std::to_string(finest_) + " is no power of two; expected 2, 4, 8, …");
    }
  }

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return {.end_time = true, .predicts = Predicts::flow}; }
  std::vector<Role> roles() const override {
    return ema_target_ ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor bootstrapped = step.uniform() < share_;
    const Tensor k = (step.uniform() * (std::bit_width(static_cast<uint64_t>(finest_)) - 1)).floor();
    const Tensor count = at::where(bootstrapped, k.exp2(), static_cast<double>(finest_));
    const Tensor t = (1 + (step.uniform() * count).floor()) / count * step.process.t_max();
    const Tensor d = step.process.t_max() / count;
    const Tensor noise = step.noise();
    const Tensor x = step.process.add_noise(step.batch.x, noise, t);
    Tensor target;
    {
      const at::NoGradGuard no_grad;
      const Tensor velocity =
          step.student.parametrisation().target(step.process, t, step.batch.x, noise);  // what flow predicts
      target = by_rows(
          bootstrapped, [&](const Tensor& i) { return two_jumps(step, i, x, t, d); },
          [&](const Tensor& i) { return velocity.index_select(0, i.to(velocity.device())); });
    }
    const Tensor s = at::where(bootstrapped, t - d, finest_end(t, d));
    const Tensor u = step.student.raw(x, t, step.batch.condition.with(inputs::end_time, s));
    return {distance_(u, target), t};
  }

 private:
  Tensor finest_end(const Tensor& t, const Tensor& d) const { return told_zero_ ? t : t - d; }
  Tensor clipped(const Tensor& x) const { return clip_ > 0 ? x.clamp(-clip_, clip_) : x; }

  // The mean velocity of the target's jumps from t to t - d / 2 and on to t - d. index: [b], the rows.
  Tensor two_jumps(const TrainingStep& step, const Tensor& index, const Tensor& all_x, const Tensor& all_t,
                   const Tensor& all_d) const {
    const Tensor x = all_x.index_select(0, index.to(all_x.device()));
    const Tensor t = all_t.index_select(0, index), half = all_d.index_select(0, index) / 2;
    const Conditioning condition = step.batch.condition.select(index);
    const Tensor finest = half <= step.process.t_max() / static_cast<double>(finest_);
    const auto jump = [&](const Tensor& state, const Tensor& from) {
      const Tensor end = at::where(finest, finest_end(from, half), from - half);
      return step.target.raw(state, from, condition.with(inputs::end_time, end));
    };
    const Tensor first = jump(x, t);
    return clipped((first + jump(clipped(x - rows(half, x) * first), t - half)) / 2);
  }

  Distance distance_;
  double share_;
  int64_t finest_;
  bool told_zero_;
  double clip_;
  bool ema_target_;
  double target_ema_;
};

RETORT_PLUGIN(Shortcut, loss, shortcut)
