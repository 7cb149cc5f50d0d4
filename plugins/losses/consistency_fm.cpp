/// Consistency flow matching: a velocity that leads to the same place from all along a straight line; from data.
///
/// The times are cut into `segments`. Draws t, and s a little nearer to the data, and noises the data to x_t and x_s
/// with the same noise. The straight line from x_t along the student's velocity is to end, at the end of t's segment,
/// where that of the target network from x_s ends; where s is that end, at x_s itself. A small share of the loss,
/// `velocity_weight`, compares the velocities. Near the data, where s is at most `data_below`, the target is the noised
/// data at the segment's end itself, as in flow matching; data_below = 1 is that everywhere.
///
/// The line is the DDIM step, which is Euler's on rectified flow. So the student is sampled well in as many steps as
/// there are segments, over the schedule "uniform".
/// Source: Yang et al. 2024 (arXiv 2407.02398), velocity consistency, also in segments. Its authors' code has s behind
/// the segment's end where t is closer to that than `interval`.
///
///     [loss]
///     type = "consistency_fm"
///     segments = 2
///     interval = 0.001
///     data_below = 0.1
#include <retort/loss.h>
#include <retort/plugin.h>

#include <ATen/ATen.h>

using namespace retort;

class ConsistencyFm final : public Loss {
 public:
  explicit ConsistencyFm(Params& p)
      : distance_(p),
        segments_(p.get("segments", 2, "equal parts of [0, t_max], each with one end", at_least(1))),
        interval_(p.get("interval", 1e-3, "t - s as a fraction of t_max",
                        {.low = 0, .high = 1, .low_open = true, .high_open = true})),
        velocity_weight_(p.get("velocity_weight", 1e-5, "of the distance between velocities", at_least(0))),
        data_below_(
            p.get("data_below", 0.1, "greatest s, as a fraction of t_max, whose target is the data's", between(0, 1))),
        ema_target_(p.choice("target", "student", {"student", "ema"},
                             "target network: the student, gradients stopped, or its moving average") == "ema"),
        target_ema_(
            p.get("target_ema", 0.999, "target = \"ema\": decay per step", {.low = 0, .high = 1, .high_open = true})) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override { return {.predicts = Predicts::flow}; }
  std::vector<Role> roles() const override {
    return ema_target_ ? std::vector<Role>{target_average(target_ema_)} : std::vector<Role>{};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const Tensor place = 1 - step.uniform();                                // t / t_max, in (0, 1]
    const Tensor end_place = ((place * segments_).ceil() - 1) / segments_;  // below it
    const Tensor s_place = at::maximum(place - interval_, end_place);
    const double most = step.process.t_max();
    const Tensor t = place * most, s = s_place * most, end = end_place * most;
    const Tensor noise = step.noise();
    const Conditioning& condition = step.batch.condition;
    const Tensor x = step.process.add_noise(step.batch.x, noise, t);
    const Tensor x_s = step.process.add_noise(step.batch.x, noise, s);
    // A jump from s to its own end would be 0 / 0 at the data.
    const Tensor of_data = (s_place <= data_below_).logical_or(s_place == end_place);
    Tensor target, target_velocity;
    {
      const at::NoGradGuard no_grad;
      const Tensor there = step.process.add_noise(step.batch.x, noise, end);
      const Tensor inside = at::where(of_data, t, s);  // any time that is well defined
      target_velocity = step.target.raw(x_s, inside, condition);
      const Linear data = step.target.parametrisation().to_data(step.process, inside);
      const Tensor line =
          ddim_step(Times(step.process, inside), Times(step.process, end), x_s, data(x_s, target_velocity));
      target = at::where(rows(of_data.to(at::kDouble), x) > 0, there, line);
    }
    const Tensor velocity = step.student.raw(x, t, condition);
    const Linear data = step.student.parametrisation().to_data(step.process, t);
    const Tensor line = ddim_step(Times(step.process, t), Times(step.process, end), x, data(x, velocity));
    Tensor per_row = distance_(line, target);
    if (velocity_weight_ > 0) {
      const Tensor own = distance_(velocity, target_velocity);
      per_row = per_row + velocity_weight_ * of_data.logical_not().to(own.options()) * own;
    }
    return {per_row, t};
  }

 private:
  Distance distance_;
  int64_t segments_;
  double interval_, velocity_weight_, data_below_;
  bool ema_target_;
  double target_ema_;
};

RETORT_PLUGIN(ConsistencyFm, loss, consistency_fm)
