/// How losses of flow maps begin: the times t and s, x at time t, the velocity there, and the conditions.
#pragma once

#include <retort/flow_map.h>

#include <ATen/ATen.h>

#include <optional>
#include <string>

namespace retort {

/// What a method's paper draws.
struct MapTimesDefaults {
  std::string pairs = "logit_normal";
  double equal_share = 0, zero_share = 0;
};

/// t and s <= t of each row, as fractions of the noisiest time:
///
/// logit_normal      both are logit-normal, t the greater (MeanFlow)
/// uniform           both are uniform, t the greater (AnyFlow)
/// gap               t - s is logit-normal, and s uniform within what that leaves (Align Your Flow)
/// gap_logit_normal  t - s is logit-normal, and s too, cut off at what that leaves (Terminal Velocity Matching)
class MapTimes {
 public:
  /// From the keys `pairs`, `t_mean`, `t_std`, `s_mean`, `s_std`, `gap_mean`, `gap_std`, `equal_share`, `zero_share`.
  MapTimes(Params& p, const MapTimesDefaults& defaults)
      : pairs_(p.choice("pairs", defaults.pairs, {"logit_normal", "uniform", "gap", "gap_logit_normal"},
                        "how t and s are drawn, as fractions of the noisiest time: each of itself, t the greater, or "
                        "t - s logit-normal, and s uniform or logit-normal within what that leaves")) {
    const auto any_of = [&](auto... names) { return p.is_describing() || ((pairs_ == names) || ...); };
    if (any_of("logit_normal")) {
      t_mean_ = p.get("t_mean", t_mean_, "pairs = \"logit_normal\": mean of logit t");
      t_std_ = p.get("t_std", t_std_, "pairs = \"logit_normal\": its standard deviation", more_than(0));
    }
    if (any_of("logit_normal", "gap_logit_normal")) {
      s_mean_ = p.get("s_mean", s_mean_, "logit-normal s: mean of logit s");
      s_std_ = p.get("s_std", s_std_, "logit-normal s: its standard deviation", more_than(0));
    }
    if (any_of("gap", "gap_logit_normal")) {
      gap_mean_ = p.get("gap_mean", gap_mean_, "pairs of a gap: mean of logit (t - s)");
      gap_std_ = p.get("gap_std", gap_std_, "pairs of a gap: its standard deviation", more_than(0));
    }
    equal_share_ = p.get("equal_share", defaults.equal_share, "share of rows with s = t", between(0, 1));
    zero_share_ = p.get("zero_share", defaults.zero_share, "share of the other rows with s = 0", between(0, 1));
  }

  TimePairs::Pair draw(const TrainingStep& step) const {
    auto [t, s] = drawn(step);
    if (zero_share_ > 0) {
      s = at::where(step.uniform() < zero_share_, at::zeros_like(s), s);
    }
    if (equal_share_ > 0) {
      s = at::where(step.uniform() < equal_share_, t, s);
    }
    const double most = step.process.t_max();
    return {t * most, s * most};
  }

  /// A time of its own, as s is drawn where nothing bounds it.
  Tensor draw_one(const TrainingStep& step) const {
    const bool normal = pairs_ == "logit_normal" || pairs_ == "gap_logit_normal";
    return (normal ? logit_normal(step, s_mean_, s_std_) : step.uniform()) * step.process.t_max();
  }

 private:
  static Tensor logit_normal(const TrainingStep& step, double mean, double std) {
    return (step.normal() * std + mean).sigmoid();
  }

  TimePairs::Pair drawn(const TrainingStep& step) const {
    if (pairs_ == "gap" || pairs_ == "gap_logit_normal") {
      const Tensor gap = logit_normal(step, gap_mean_, gap_std_);
      Tensor s = step.uniform();
      if (pairs_ == "gap") {
        s = s * (1 - gap);
      } else {  // the quantile u Phi(z_most) of the normal, z_most that of logit s = logit (1 - gap)
        const Tensor most = at::special_ndtr(((1 - gap).logit() - s_mean_) / s_std_);
        s = (at::special_ndtri(s * most) * s_std_ + s_mean_).sigmoid();
      }
      return {(s + gap).clamp_max(1), s};
    }
    const bool normal = pairs_ == "logit_normal";
    const Tensor one = normal ? logit_normal(step, t_mean_, t_std_) : step.uniform();
    const Tensor other = normal ? logit_normal(step, s_mean_, s_std_) : step.uniform();
    return {at::maximum(one, other), at::minimum(one, other)};
  }

  std::string pairs_;
  double t_mean_ = -0.4, t_std_ = 1, s_mean_ = -0.4, s_std_ = 1, gap_mean_ = -0.8, gap_std_ = 1;
  double equal_share_ = 0, zero_share_ = 0;
};

/// x = alpha(t) x0 + sigma(t) noise, and what is followed from there.
struct MapRows {
  Tensor t, s;      // [B] float64
  Tensor x, noise;  // [B, …]
  Tensor velocity;  // [B, …], without gradients
  Conditioning condition;

  /// The conditions with an end time.
  Conditioning to(const Tensor& end) const { return condition.with(inputs::end_time, end); }
};

/// Rows of a batch. Some lose their conditions, and follow the velocity that there is without.
class MapLesson {
 public:
  /// From the keys of `Velocity`, and `label_dropout`.
  explicit MapLesson(Params& p)
      : velocity_(p),
        label_dropout_(p.get("label_dropout", 0.1, "share of rows that lose their conditions", between(0, 1))) {}

  bool of_teacher() const { return velocity_.of_teacher(); }
  /// Of a flow map that is told both of its times.
  Needs needs() const { return {.teacher = of_teacher(), .end_time = true, .predicts = Predicts::flow}; }

  /// The rows at these times.
  MapRows at(const TrainingStep& step, const TimePairs::Pair& pair) const {
    MapRows out{pair.t, pair.s, {}, step.noise(), {}, step.batch.condition};
    if (!out.condition.empty() && label_dropout_ > 0) {
      out.condition = without_condition(out.condition, step.spec.inputs, step.uniform() < label_dropout_);
    }
    return elsewhere(step, out, pair.t);
  }
  /// The same rows at another place of their way from data to noise.
  MapRows elsewhere(const TrainingStep& step, const MapRows& rows, const Tensor& t) const {
    MapRows out = rows;
    out.t = t;
    out.x = step.process.add_noise(step.batch.x, out.noise, t);
    out.velocity = velocity(step, out, out.x, t);
    return out;
  }

  /// The velocity that is followed at any x and t; for data, the rows' own.
  Tensor velocity(const TrainingStep& step, const MapRows& rows, const Tensor& x, const Tensor& t) const {
    TrainingStep own = step;
    own.batch.condition = rows.condition;
    std::optional<Ode> ode;
    if (step.ode != nullptr && !rows.condition.empty()) {
      ode.emplace(step.ode->with(rows.condition));
      own.ode = &*ode;
    }
    return velocity_(own, x, t, rows.noise);
  }

 private:
  Velocity velocity_;
  double label_dropout_;
};

/// The mean over a sample's places of 1 - cos of the angle between two vectors over dimension 1: [B]. Where the first
/// is shorter than a tenth of the second, it counts as that long: so the slope is finite for a network that says 0 yet.
inline Tensor mean_angle(const Tensor& a, const Tensor& b) {
  const Tensor length = b.square().sum(1).sqrt().clamp_min(1e-12);
  const Tensor own = at::maximum((a.square().sum(1) + 1e-30).sqrt(), 0.1 * length);
  return (1 - (a * b).sum(1) / (own * length)).reshape({a.size(0), -1}).mean(1);
}

}  // namespace retort
