#include "retort/flow_map.h"

#include <ATen/ATen.h>

#include <cmath>

#include "retort/fused.h"

namespace retort {

TimePairs::TimePairs(Params& p)
    : logit_normal_(p.choice("pairs", "logit_normal", {"logit_normal", "uniform"},
                             "how t and s are drawn, as fractions of the noisiest time; the greater is t") ==
                    "logit_normal"),
      t_mean_(p.get("t_mean", -0.4, "pairs = \"logit_normal\": mean of logit t")),
      t_std_(p.get("t_std", 1.0, "pairs = \"logit_normal\": its standard deviation", more_than(0))),
      s_mean_(p.get("s_mean", -0.4, "pairs = \"logit_normal\": mean of logit s")),
      s_std_(p.get("s_std", 1.0, "pairs = \"logit_normal\": its standard deviation", more_than(0))),
      equal_share_(p.get("equal_share", 0.75, "share of rows with s = t: plain flow matching", between(0, 1))) {}

TimePairs::Pair TimePairs::draw(const TrainingStep& step) const {
  const auto one = [&](double mean, double std) {
    return logit_normal_ ? (step.normal() * std + mean).sigmoid() : step.uniform();
  };
  const Tensor t = one(t_mean_, t_std_);
  const Tensor drawn = one(s_mean_, s_std_);
  const Tensor s = at::where(step.uniform() < equal_share_, t, drawn);
  const double most = step.process.t_max();
  return {at::maximum(t, s) * most, at::minimum(t, s) * most};
}

Velocity::Velocity(Params& p)
    : of_teacher_(p.choice("velocity", "data", {"data", "teacher"},
                           "data: alpha' x0 + sigma' noise of the pair that was drawn; teacher: its ODE's") ==
                  "teacher"),
      guidance_(p.get("guidance", 1.0,
                      "w of the velocity that is followed, w v + (1 - w - mix) u(no condition) + mix u(condition), by "
                      "the student itself; 1: none",
                      at_least(0))),
      mix_(p.get("guidance_mix", 0.0, "mix of the same", at_least(0))),
      from_(p.get("guidance_from", 0.0, "least time that is guided, as a fraction of the noisiest", between(0, 1))),
      to_(p.get("guidance_to", 1.0, "greatest time that is guided", between(0, 1))) {}

Tensor Velocity::operator()(const TrainingStep& step, const Tensor& x, const Tensor& t, const Tensor& noise) const {
  const at::NoGradGuard no_grad;
  const Tensor v = of_teacher_ ? step.ode->velocity(x, t)
                               : combine({{step.process.d_alpha(t), step.batch.x}, {step.process.d_sigma(t), noise}});
  if ((guidance_ == 1 && mix_ == 0) || step.batch.condition.empty()) {
    return v;
  }
  const auto student = [&](const Conditioning& condition) {
    return step.target.raw(x, t, condition.with(inputs::end_time, t));
  };
  const Tensor without = student(without_condition(step.batch.condition, step.spec.inputs));
  Tensor guided = guidance_ * v + (1 - guidance_ - mix_) * without;
  if (mix_ > 0) {
    guided = guided + mix_ * student(step.batch.condition);
  }
  const double most = step.process.t_max();
  const Tensor within = (t >= from_ * most).logical_and(t <= to_ * most).to(at::kDouble);
  return combine({{within, guided}, {1 - within, v}});
}

AverageVelocity::AverageVelocity(Params& p) : step_(0), split_(0) {
  const std::vector<std::string> names = {"jvp", "difference", "interval"};
  const std::string name =
      p.choice("derivative", "jvp", names,
               "jvp: du/dt in forward mode; difference: central difference of two evaluations, for any network and "
               "backend; interval: no derivative, u over an interval is the mean of u over its two parts");
  derivative_ = static_cast<Derivative>(std::find(names.begin(), names.end(), name) - names.begin());
  step_ = p.get("difference_step", 0.005, "derivative = \"difference\": half its width, of the noisiest time",
                {.low = 0, .high = 0.5, .low_open = true});
  split_ = p.get("split", 0.5, "derivative = \"interval\": where the interval is cut, 0 at s and 1 at t",
                 {.low = 0, .high = 1, .low_open = true, .high_open = true});
}

Tensor AverageVelocity::by_difference(const TrainingStep& step, const Tensor& x, const Tensor& t,
                                      const Conditioning& given, const Tensor& velocity) const {
  const double h = step_ * step.process.t_max();
  const auto at = [&](double offset) { return step.target.raw(x + offset * velocity, t + offset, given); };
  return (at(h) - at(-h)) / (2 * h);
}

// ((t - m) u(x, t, m) + (m - s) u(x_m, m, s)) / (t - s); where s = t, the velocity.
Tensor AverageVelocity::by_interval(const TrainingStep& step, const Tensor& x, const Tensor& t, const Tensor& s,
                                    const Tensor& velocity, const Conditioning& condition) const {
  const Tensor m = s + split_ * (t - s);
  const Tensor first = step.target.raw(x, t, condition.with(inputs::end_time, m));
  const Tensor x_m = x + rows(m - t, x) * first;
  const Tensor second = step.target.raw(x_m, m, condition.with(inputs::end_time, s));
  const Tensor apart = (t > s).to(at::kDouble);
  return combine({{apart * (1 - split_), first}, {apart * split_, second}, {1 - apart, velocity}});
}

AverageVelocity::Value AverageVelocity::operator()(const TrainingStep& step, const Tensor& x, const Tensor& t,
                                                   const Tensor& s, const Tensor& velocity,
                                                   const Conditioning& condition) const {
  const Conditioning given = condition.with(inputs::end_time, s);
  if (derivative_ == Derivative::jvp) {
    const Model::Tangent u = step.student.tangent(x, t, given, velocity, at::ones_like(t));
    return {u.output, (velocity - rows(t - s, x) * u.derivative).detach()};
  }
  Value out{step.student.raw(x, t, given), {}};
  const at::NoGradGuard no_grad;
  out.target = derivative_ == Derivative::interval
                   ? by_interval(step, x, t, s, velocity, condition)
                   : velocity - rows(t - s, x) * by_difference(step, x, t, given, velocity);
  return out;
}

AdaptiveWeight::AdaptiveWeight(Params& p)
    : power_(p.get("adaptive_power", 1.0, "p of L / (L + c)^p; 0: no weight", at_least(0))),
      constant_(p.get("adaptive_constant", 1e-2, "c of the same", more_than(0))) {}

Tensor AdaptiveWeight::operator()(const Tensor& per_row) const {
  return power_ == 0 ? per_row : per_row / (per_row.detach() + constant_).pow(power_);
}

}  // namespace retort
