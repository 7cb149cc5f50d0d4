/// What losses of flow maps share: how pairs of times are drawn, which velocity is followed, and what the average
/// velocity u(x, t, s) between two times is held to. Each is chosen by a line of TOML and crosses with the others:
/// MeanFlow (Geng et al. 2025, arXiv 2505.13447), its distillation, and the interval form (SplitMeanFlow, Guo et al.
/// 2025, arXiv 2507.16884) are points of that product.
///
/// X(x, t, s) = x + (s - t) u(x, t, s) is the state at time s of the way through x at time t; u(x, t, t) is the
/// velocity. Following the way, u = v - (t - s) du/dt (MeanFlow, eq. 6).
#pragma once

#include "retort/loss.h"

namespace retort {

/// t and s <= t of each row.
class RETORT_API TimePairs {
 public:
  /// From the keys `pairs`, `t_mean`, `t_std`, `s_mean`, `s_std` and `equal_share`.
  explicit TimePairs(Params& p);
  struct Pair {
    Tensor t, s;  // [B] float64
  };
  Pair draw(const TrainingStep& step) const;

 private:
  bool logit_normal_;
  double t_mean_, t_std_, s_mean_, s_std_, equal_share_;
};

/// The velocity dx/dt that the map follows.
class RETORT_API Velocity {
 public:
  /// From the keys `velocity`, `guidance`, `guidance_mix`, `guidance_from` and `guidance_to`.
  explicit Velocity(Params& p);
  bool of_teacher() const { return of_teacher_; }
  /// At x = alpha x0 + sigma noise: [B, …]. Without gradients.
  Tensor operator()(const TrainingStep& step, const Tensor& x, const Tensor& t, const Tensor& noise) const;

 private:
  bool of_teacher_;
  double guidance_, mix_, from_, to_;
};

/// What the student says of the average velocity, and what it is held to.
class RETORT_API AverageVelocity {
 public:
  /// From the keys `derivative`, `difference_step` and `split`.
  explicit AverageVelocity(Params& p);
  struct Value {
    Tensor output;  // u(x, t, s), differentiable
    Tensor target;  // without gradients
  };
  Value operator()(const TrainingStep& step, const Tensor& x, const Tensor& t, const Tensor& s, const Tensor& velocity,
                   const Conditioning& condition) const;

 private:
  enum class Derivative { jvp, difference, interval };
  Tensor by_difference(const TrainingStep& step, const Tensor& x, const Tensor& t, const Conditioning& given,
                       const Tensor& velocity) const;
  Tensor by_interval(const TrainingStep& step, const Tensor& x, const Tensor& t, const Tensor& s,
                     const Tensor& velocity, const Conditioning& condition) const;
  Derivative derivative_;
  double step_, split_;
};

/// L / (L + c)^p, the divisor without gradients: rows far off do not drown the others (MeanFlow, eq. 22).
class RETORT_API AdaptiveWeight {
 public:
  /// From the keys `adaptive_power` and `adaptive_constant`.
  explicit AdaptiveWeight(Params& p);
  /// per_row: [B].
  Tensor operator()(const Tensor& per_row) const;

 private:
  double power_, constant_;
};

}  // namespace retort
