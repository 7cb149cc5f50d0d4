/// TrigFlow's view of a student on any process: the same state, scaled, at a time that is an angle; and the derivative
/// of what the student says there, along the way. Losses of continuous-time consistency models are made of it.
///
/// With tau = atan2(sigma, alpha sd), which is the same signal-to-noise ratio, X = sd x / sqrt((alpha sd)^2 + sigma^2)
/// is cos(tau) x0 + sin(tau) z, z = sd n, and D = cos(tau) X - sin(tau) sd F (Lu & Song 2024, arXiv 2410.11081, section
/// 3).
#pragma once

#include <retort/forward_mode.h>
#include <retort/loss.h>

#include <ATen/ATen.h>

#include <numbers>

namespace retort {

struct TrigState {
  Tensor t, tau;       // [B] float64
  Tensor x, velocity;  // [B, …]: X, and dX/dtau without gradients
};

class TrigFlow {
 public:
  /// From the keys `velocity`, `derivative` and `difference_step`.
  explicit TrigFlow(Params& p)
      : of_teacher_(p.choice("velocity", "data", {"data", "teacher"},
                             "the way that is followed: of the batch's data and noise, or of the teacher's ODE") ==
                    "teacher"),
        forward_(p.choice("derivative", "difference", {"difference", "jvp"},
                          "of the network along the way: difference: central difference of two evaluations, for any "
                          "network and backend; jvp: in forward mode, exact") == "jvp"),
        step_(p.get("difference_step", 0.005,
                    "derivative = \"difference\": half its width, of the angle to the nearer end",
                    {.low = 0, .high = 0.5, .low_open = true})) {}

  bool of_teacher() const { return of_teacher_; }

  TrigState state(const TrainingStep& step, const Tensor& t, const Tensor& noise) const {
    const Process& process = step.process;
    const double sd = step.student.parametrisation().sigma_data;
    TrigState out{t, at::atan2(process.sigma(t), process.alpha(t) * sd), {}, {}};
    const Tensor x = process.add_noise(step.batch.x, noise, t);
    Ode::Prediction way{step.batch.x, noise};
    if (of_teacher_) {
      const at::NoGradGuard no_grad;
      way = step.ode->predict(x, t);
    }
    out.x = x / rows(scale(process, t, sd), x);
    out.velocity = rows(out.tau.cos() * sd, x) * way.noise - rows(out.tau.sin(), x) * way.data;
    return out;
  }

  struct Value {
    Tensor output;      // sd F(X, tau), differentiable
    Tensor derivative;  // cos(tau) sin(tau) times its derivative along (velocity, 1), without gradients
  };
  Value operator()(const Model& student, const TrigState& at, const Conditioning& condition) const {
    return forward_ ? in_forward_mode(student, at, condition) : by_difference(student, at, condition);
  }

 private:
  static Tensor scale(const Process& process, const Tensor& t, double sd) {
    return (process.alpha(t).square() + (process.sigma(t) / sd).square()).sqrt();
  }

  // At an angle: x = scale X, and sd F = skip X + factor * (the network's output).
  struct Coefficients {
    Tensor t, scale, skip, factor, input, label;
  };
  static Coefficients coefficients(const Model& student, const Tensor& tau) {
    const Process& process = student.process();
    const Parametrisation& form = student.parametrisation();
    Coefficients out;
    out.t = process.time_of_noise_level(tau.tan() * form.sigma_data);
    out.scale = scale(process, out.t, form.sigma_data);
    const Linear data = form.to_data(process, out.t);
    out.skip = (tau.cos() - data.a * out.scale) / tau.sin();
    out.factor = -data.b / tau.sin();
    out.input = form.c_in(process, out.t) * out.scale;
    out.label = form.c_noise(process, out.t);
    return out;
  }

  static Tensor to_nearer_end(const Tensor& tau) { return at::minimum(tau, std::numbers::pi / 2 - tau); }

  Value by_difference(const Model& student, const TrigState& at, const Conditioning& condition) const {
    const auto output = [&](const Tensor& x, const Tensor& tau) {
      const Coefficients c = coefficients(student, tau);
      return rows(c.skip, x) * x + rows(c.factor, x) * student.raw(rows(c.scale, x) * x, c.t, condition);
    };
    Value out{output(at.x, at.tau), {}};
    const at::NoGradGuard no_grad;
    const Tensor h = step_ * to_nearer_end(at.tau);
    const auto moved = [&](const Tensor& by) { return output(at.x + rows(by, at.x) * at.velocity, at.tau + by); };
    const Tensor per = at.tau.cos() * at.tau.sin() / (2 * h);
    out.derivative = rows(per, at.x) * (moved(h) - moved(-h));
    return out;
  }

  static Value in_forward_mode(const Model& student, const TrigState& at, const Conditioning& condition) {
    const Coefficients c = coefficients(student, at.tau);
    // The coefficients' slopes: of fourth order, to about twelve digits; and all directions times cos sin.
    const Tensor h = 1e-3 * to_nearer_end(at.tau), speed = at.tau.cos() * at.tau.sin();
    const Coefficients ahead = coefficients(student, at.tau + h), behind = coefficients(student, at.tau - h),
                       far_ahead = coefficients(student, at.tau + 2 * h),
                       far_behind = coefficients(student, at.tau - 2 * h);
    const auto slope = [&](Tensor Coefficients::*of) {
      return speed * (8 * (ahead.*of - behind.*of) - (far_ahead.*of - far_behind.*of)) / (12 * h);
    };
    const Tensor dx = rows(speed, at.x) * at.velocity;
    Conditioning given = condition;
    if (const Tensor w = condition[inputs::guidance]; w.defined()) {
      given.set(inputs::guidance, w.log1p().to(at.x.options().dtype(at::kFloat)));
    }
    const Tensor input = rows(c.input, at.x);
    const ForwardMode forward;
    const Tensor x = forward.with(input * at.x, rows(slope(&Coefficients::input), at.x) * at.x + input * dx);
    const Tensor label = forward.with(c.label.to(at.x.options().dtype(at::kFloat)), slope(&Coefficients::label));
    const ForwardMode::Value said =
        forward.of([&] { return student.network()(x, label, given); }, "loss.derivative = \"difference\" needs none");
    const Tensor raw = said.output.to(at.x.scalar_type()), d_raw = said.derivative.detach().to(at.x.scalar_type());
    const Tensor skip = rows(c.skip, at.x), factor = rows(c.factor, at.x);
    return {skip * at.x + factor * raw, rows(slope(&Coefficients::skip), at.x) * at.x + skip * dx +
                                            rows(slope(&Coefficients::factor), at.x) * raw.detach() + factor * d_raw};
  }

  bool of_teacher_, forward_;
  double step_;
};

}  // namespace retort
