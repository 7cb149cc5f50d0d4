#include "retort/model.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "retort/error.h"
#include "retort/forward_mode.h"
#include "retort/solver.h"
#include "retort/times.h"

namespace retort {

namespace {
const std::vector<std::string> names = {"edm", "sigma_shifted", "time_scaled"};
}

Boundary::Boundary(Params& p, const Parametrisation& parametrisation) : sigma_data(parametrisation.sigma_data) {
  const std::string name = p.choice("boundary", "edm", names, "how f(x, t_min) = x is enforced");
  kind = static_cast<BoundaryKind>(std::find(names.begin(), names.end(), name) - names.begin());
  if (p.is_describing() || kind == BoundaryKind::sigma_shifted) {
    sigma_min = p.get("sigma_min", 0.002, "boundary = \"sigma_shifted\": the noise level at which f is the identity",
                      at_least(0));
  }
  if (p.is_describing() || kind == BoundaryKind::time_scaled) {
    time_scale = p.get("time_scale", 10.0, "boundary = \"time_scaled\": factor of the time", more_than(0));
  }
  if (kind != BoundaryKind::time_scaled && parametrisation.predicts == Predicts::data) {
    throw p.error("boundary",
                  "'" + name + "' does not give f(x, 0) = x for a network that predicts data; expected 'time_scaled'");
  }
}

Model::Model(std::shared_ptr<CompiledNetwork> network, Process process, Parametrisation parametrisation,
             Boundary boundary, Makes makes, bool two_times)
    : network_(std::move(network)),
      process_(std::move(process)),
      parametrisation_(parametrisation),
      boundary_(boundary),
      makes_(makes),
      two_times_(two_times) {}

// What the network is called with.
Model::Call Model::call(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  const auto options = x.options().dtype(at::kFloat);
  const Tensor label = parametrisation_.c_noise(process_, t);
  Conditioning given = condition;
  if (const Tensor w = condition[inputs::guidance]; w.defined()) {
    given.set(inputs::guidance, w.log1p().to(options));
  }
  if (const Tensor s = condition[inputs::end_time]; s.defined()) {
    given.set(inputs::end_time, (label - parametrisation_.c_noise(process_, s)).to(options));
  }
  return {rows(parametrisation_.c_in(process_, t), x) * x, label.to(options), given};
}

Tensor Model::raw(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  const Call in = call(x, t, condition);
  return (*network_)(in.x, in.c_noise, in.condition).to(x.scalar_type());
}

Tensor Model::endpoint(const Tensor& x, const Tensor& t, const Conditioning& condition, const Tensor& end) const {
  switch (makes_) {
    case Makes::consistency:
      return consistency(x, t, condition);
    case Makes::flow_map:
    case Makes::policy:
      return jump(x, t, end.defined() ? end : at::zeros_like(t), condition);
    default:
      return data(x, t, condition);
  }
}

Policy Model::policy(const Tensor& x, const Tensor& t, const Tensor& s, const Conditioning& condition) const {
  const Tensor out = raw(x, t, two_times_ ? condition.with(inputs::end_time, s) : condition);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.insert(shape.begin() + 1, out.size(1) / x.size(1));
  const Tensor data = parametrisation_.to_data(process_, t)(x.unsqueeze(1).expand(shape), out.reshape(shape));
  return {flow_form::time(process_, t), flow_form::time(process_, s), data};
}

Tensor Model::jump(const Tensor& x, const Tensor& t, const Tensor& s, const Conditioning& condition) const {
  if (makes_ == Makes::policy) {
    const Tensor y = flow_form::state(process_, x, t);
    const Policy way = policy(x, t, s, condition);
    return flow_form::state_back(process_, way.walk(y, flow_form::time(process_, t), flow_form::time(process_, s)), s);
  }
  if (two_times_) {
    return x + rows(s - t, x) * raw(x, t, condition.with(inputs::end_time, s));
  }
  return ddim_step(Times(process_, t), Times(process_, s), x, data(x, t, condition));
}

namespace {

// The derivative of a smooth function of time: fourth order, in float64, to about twelve digits.
template <class F>
Tensor slope(F f, const Tensor& t, double scale) {
  const double h = 1e-3 * scale;
  return (8 * (f(t + h) - f(t - h)) - (f(t + 2 * h) - f(t - 2 * h))) / (12 * h);
}

}  // namespace

Model::Tangent Model::tangent(const Tensor& x, const Tensor& t, const Conditioning& condition, const Tensor& dx,
                              const Tensor& dt) const {
  const double scale = std::min(1.0, process_.t_max());
  const auto c_in = [&](const Tensor& time) { return parametrisation_.c_in(process_, time); };
  const auto label = [&](const Tensor& time) { return parametrisation_.c_noise(process_, time); };
  Call in = call(x, t, condition);
  Tensor d_input, d_label;
  {
    const at::NoGradGuard no_grad;
    d_input = rows(c_in(t), x) * dx + rows(slope(c_in, t, scale) * dt, x) * x;
    d_label = slope(label, t, scale) * dt;
  }
  const ForwardMode forward;
  in.x = forward.with(in.x, d_input);
  in.c_noise = forward.with(in.c_noise, d_label);
  if (const Tensor interval = in.condition[inputs::end_time]; interval.defined()) {
    in.condition.set(inputs::end_time, forward.with(interval, d_label));
  }
  const auto [output, derivative] =
      forward.of([&] { return (*network_)(in.x, in.c_noise, in.condition); }, "a difference of two outputs needs none");
  return {output.to(x.scalar_type()), derivative.detach().to(x.scalar_type())};
}

Tensor Model::data(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  Tensor out = raw(x, t, condition);
  if (makes_ == Makes::policy) {
    out = out.narrow(1, out.size(1) - x.size(1), x.size(1));
  }
  return parametrisation_.to_data(process_, t)(x, out);
}

Tensor Model::consistency(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  const Tensor d = data(x, t, condition);
  const double sd = boundary_.sigma_data;
  switch (boundary_.kind) {
    case BoundaryKind::edm:
      return d;
    case BoundaryKind::sigma_shifted: {
      // c_out F with D = c_skip y + c_out F: F's factor (s - s_min) sd / sqrt(s^2 + sd^2) is (s - s_min) / s of EDM's.
      const Tensor s = process_.noise_level(t);
      const Tensor shifted = (s - boundary_.sigma_min).clamp_min(0);
      const Tensor ratio = at::where(s > 0, shifted / s, at::zeros_like(s));
      const Tensor skip = (sd * sd) / (shifted * shifted + sd * sd);
      const Tensor edm_skip = (sd * sd) / (s * s + sd * sd);
      return rows((skip - ratio * edm_skip) / process_.alpha(t), x) * x + rows(ratio, x) * d;
    }
    case BoundaryKind::time_scaled: {
      const Tensor r = t.to(at::kDouble) * boundary_.time_scale;
      const Tensor square = r * r + sd * sd;
      return rows((sd * sd) / square, x) * x + rows(r / square.sqrt(), x) * d;
    }
  }
  throw Error("unknown boundary");
}

}  // namespace retort
