#include "retort/process.h"

#include <ATen/ATen.h>

#include <limits>

#include "curve.h"

namespace retort {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

template <class F>
Tensor map(const Tensor& t, F f) {
  const Tensor in = t.to(at::kCPU, at::kDouble).contiguous();
  Tensor out = at::empty_like(in);
  const double* from = in.data_ptr<double>();
  double* to = out.data_ptr<double>();
  for (int64_t i = 0; i < in.numel(); ++i) {
    to[i] = f(from[i]);
  }
  return out;
}

}  // namespace

Process::Process() : Process(curves::variance_exploding()) {}
Process::Process(Params& p) : Process(curves::read(p)) {}
Process::Process(Functions functions) : Process(curves::of_functions(std::move(functions))) {}
Process::Process(std::shared_ptr<const Curve> curve) : curve_(std::move(curve)) {}

Process Process::variance_exploding() { return {}; }
Process Process::vp_linear(double beta_min, double beta_max) { return Process(curves::vp_linear(beta_min, beta_max)); }
Process Process::vp_scaled_linear(double beta_min, double beta_max) {
  return Process(curves::vp_scaled_linear(beta_min, beta_max));
}
Process Process::vp_cosine() { return Process(curves::vp_cosine()); }
Process Process::rectified_flow() { return Process(curves::rectified_flow()); }
Process Process::trigonometric() { return Process(curves::trigonometric()); }

Process Process::from_betas(const std::vector<double>& betas) {
  if (const std::string fault = curves::fault_of_betas(betas); !fault.empty()) {
    throw RequestError("a process's betas: " + fault);
  }
  return Process(curves::of_betas(curves::value_of_betas(betas), betas, false));
}

Process Process::from_alphas_cumprod(const std::vector<double>& table) {
  if (const std::string fault = curves::fault_of_alphas_cumprod(table); !fault.empty()) {
    throw RequestError("a process's alphas_cumprod: " + fault);
  }
  return Process(curves::of_alphas_cumprod(table));
}

std::string Process::name() const { return std::get<std::string>(curve_->value().find("type")->data); }
Value Process::to_value() const { return curve_->value(); }
bool Process::is_variance_exploding() const { return curve_->is_variance_exploding(); }
int64_t Process::steps() const { return curve_->steps(); }
double Process::t_max() const { return curve_->t_max(); }
double Process::least_drift_time() const { return curve_->least_drift_time(); }

bool Process::operator==(const Process& other) const {
  return curve_ == other.curve_ ||
         (curve_->is_its_value() && other.curve_->is_its_value() && curve_->value() == other.curve_->value());
}

Tensor Process::alpha(const Tensor& t) const {
  return map(t, [this](double v) { return curve_->alpha(v); });
}
Tensor Process::sigma(const Tensor& t) const {
  return map(t, [this](double v) { return curve_->sigma(v); });
}
Tensor Process::d_alpha(const Tensor& t) const {
  return map(t, [this](double v) { return curve_->d_alpha(v); });
}
Tensor Process::d_sigma(const Tensor& t) const {
  return map(t, [this](double v) { return curve_->d_sigma(v); });
}
Tensor Process::lambda(const Tensor& t) const {
  return map(t, [this](double v) { return curve_->lambda(v); });
}
Tensor Process::time(const Tensor& lambda) const {
  return map(lambda, [this](double v) { return v == infinity ? 0.0 : curve_->time(v); });
}
Tensor Process::noise_level(const Tensor& t) const {
  return map(t, [this](double v) { return curve_->noise_level(v); });
}
Tensor Process::time_of_noise_level(const Tensor& level) const {
  return map(level, [this](double v) { return curve_->time_of_noise_level(v); });
}

Tensor Process::add_noise(const Tensor& x0, const Tensor& n, const Tensor& t) const {
  return rows(alpha(t), x0) * x0 + rows(sigma(t), x0) * n;
}

}  // namespace retort
