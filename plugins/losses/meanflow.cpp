/// MeanFlow: a flow map in one training, from data or from a teacher's velocity.
///
/// The student says the average velocity u(x, t, s) from t to s, and is held to v - (t - s) du/dt along the way, which
/// carries no gradient; where s = t that is flow matching. The derivative is taken in forward mode, by a difference, or
/// avoided by cutting the interval in two. Rows weigh 1 / (L + c)^p. With velocity "teacher" it distils.
/// Source: Geng et al. 2025 (arXiv 2505.13447), algorithm 1 and appendix; SplitMeanFlow (arXiv 2507.16884) for
/// derivative "interval".
///
///     [loss]
///     type = "meanflow"
///     derivative = "jvp"             # or "difference", "interval"
///     equal_share = 0.75
#include <retort/flow_map.h>
#include <retort/plugin.h>

using namespace retort;

class MeanFlow final : public Loss {
 public:
  explicit MeanFlow(Params& p)
      : pairs_(p),
        velocity_(p),
        average_(p),
        distance_(p, "l2_sum"),
        weight_(p),
        label_dropout_(p.get("label_dropout", 0.1, "share of rows that lose their conditions", between(0, 1))) {}

  Makes makes() const override { return Makes::flow_map; }
  Needs needs() const override {
    return {.teacher = velocity_.of_teacher(), .end_time = true, .predicts = Predicts::flow};
  }

  LossValue operator()(const TrainingStep& step) const override {
    const auto [t, s] = pairs_.draw(step);
    const Tensor noise = step.noise();
    const Tensor x = step.process.add_noise(step.batch.x, noise, t);
    const Tensor velocity = velocity_(step, x, t, noise);
    Conditioning condition = step.batch.condition;
    if (!condition.empty() && label_dropout_ > 0) {
      condition = without_condition(condition, step.spec.inputs, step.uniform() < label_dropout_);
    }
    const AverageVelocity::Value u = average_(step, x, t, s, velocity, condition);
    return {weight_(distance_(u.output, u.target)), t};
  }

 private:
  TimePairs pairs_;
  Velocity velocity_;
  AverageVelocity average_;
  Distance distance_;
  AdaptiveWeight weight_;
  double label_dropout_;
};

RETORT_PLUGIN(MeanFlow, loss, meanflow)
