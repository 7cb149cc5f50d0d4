#include "retort/model.h"

#include <ATen/ATen.h>

#include <algorithm>

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

Model::Model(std::shared_ptr<CompiledNetwork> network, Process process, Parametrisation parametrisation, Boundary boundary)
    : network_(std::move(network)),
      process_(std::move(process)),
      parametrisation_(parametrisation),
      boundary_(boundary) {}

Tensor Model::raw(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  const auto options = x.options().dtype(at::kFloat);
  const auto label = [&](const Tensor& time) { return parametrisation_.noise_label(process_, time).to(options); };
  Conditioning given = condition;
  if (const Tensor w = condition[inputs::guidance]; w.defined()) {
    given.set(inputs::guidance, w.log1p().to(options));
  }
  if (const Tensor s = condition[inputs::end_time]; s.defined()) {
    given.set(inputs::end_time, label(s));
  }
  return (*network_)(rows(parametrisation_.input_scale(process_, t), x) * x, label(t), given).to(x.scalar_type());
}

Tensor Model::data(const Tensor& x, const Tensor& t, const Conditioning& condition) const {
  return parametrisation_.to_data(process_, t)(x, raw(x, t, condition));
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
