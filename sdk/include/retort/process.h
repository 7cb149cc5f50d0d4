/// The forward process x_t = alpha(t) x_0 + sigma(t) n, n ~ N(0, I): a value, the same for every part of a run.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "retort/params.h"
#include "retort/tensor.h"

namespace retort {

/// Times are float64 tensors [B] on the CPU, in the process's own unit. lambda = log(alpha / sigma) is half the
/// log-SNR, and falls as t grows.
class RETORT_API Process {
 public:
  enum class Type { ve, vp_linear, vp_scaled_linear, vp_cosine, rectified_flow };

  Process() = default;  // variance exploding: alpha = 1, sigma = t
  /// From a table such as { type = "vp_linear", beta_min = 0.1, beta_max = 20 }.
  explicit Process(Params& p);

  Type type() const { return type_; }
  /// The spelling in a configuration: "ve", "vp_linear", …
  std::string name() const;
  /// The table that makes this process again.
  Value to_value() const;

  Tensor alpha(const Tensor& t) const;
  Tensor sigma(const Tensor& t) const;
  /// Derivatives in t, of the ODE dx/dt = alpha' D(x, t) + sigma' eps(x, t).
  Tensor d_alpha(const Tensor& t) const;
  Tensor d_sigma(const Tensor& t) const;
  /// lambda(t): +inf where sigma = 0, -inf where alpha = 0.
  Tensor lambda(const Tensor& t) const;
  /// The time at which lambda(t) has the given value.
  Tensor time(const Tensor& lambda) const;
  /// sigma / alpha, the noise level of the variance-exploding form y = x / alpha, and its inverse.
  Tensor noise_level(const Tensor& t) const;
  Tensor time_of_noise_level(const Tensor& level) const;

  /// The noisiest time that the process defines (for "ve", a customary one: 80).
  double t_max() const;
  /// The least time at which the drift of the ODE in t is finite.
  double least_drift_time() const;

  /// x_t for clean data x0: [B, …], its noise n: [B, …] and times t: [B].
  Tensor add_noise(const Tensor& x0, const Tensor& n, const Tensor& t) const;

  bool operator==(const Process& other) const { return to_value() == other.to_value(); }

 private:
  double log_alpha(double t) const;
  double beta(double t) const;
  double sigma(double t) const;
  double time(double lambda) const;

  Type type_ = Type::ve;
  double beta_min_ = 0.1;
  double beta_max_ = 20.0;
  std::shared_ptr<const std::vector<double>> betas_;       // vp_scaled_linear: beta of step i + 1
  std::shared_ptr<const std::vector<double>> log_alphas_;  // vp_scaled_linear: log alpha at t = 0, 1, …, T
};

}  // namespace retort
