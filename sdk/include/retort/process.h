/// The forward process x_t = alpha(t) x_0 + sigma(t) n, n ~ N(0, I): a value, the same for every part of a run.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "retort/params.h"
#include "retort/tensor.h"

namespace retort {

class Curve;

/// Times are float64 tensors [B] on the CPU, in the process's own unit. lambda = log(alpha / sigma) is half the
/// log-SNR, and falls as t grows. Copies share one curve, which never changes.
class RETORT_API Process {
 public:
  Process();  // variance exploding
  /// From a table such as { type = "vp_linear", beta_min = 0.1, beta_max = 20 }.
  explicit Process(Params& p);
  // Not moved from, so that none is ever left without its curve.
  Process(const Process&) = default;
  Process& operator=(const Process&) = default;

  /// alpha = 1, sigma = t (Karras et al. 2022).
  static Process variance_exploding();
  /// alpha^2 + sigma^2 = 1 with beta(t) = beta_min + t (beta_max - beta_min), t in [0, 1] (Song et al. 2021).
  static Process vp_linear(double beta_min = 0.1, double beta_max = 20.0);
  /// The table of Stable Diffusion, of 1000 steps: the roots of the betas are evenly spaced.
  static Process vp_scaled_linear(double beta_min = 0.00085, double beta_max = 0.012);
  /// Nichol & Dhariwal 2021, eq. 17, t in [0, 0.9946].
  static Process vp_cosine();
  /// alpha = 1 - t, sigma = t, t in [0, 1] (Liu et al. 2023; Lipman et al. 2023).
  static Process rectified_flow();
  /// alpha = cos t, sigma = sin t, t in [0, pi / 2]: TrigFlow of Lu & Song 2024.
  static Process trigonometric();

  /// Tables of any number of steps T. Times count steps: 0 is clean data, and t >= 1 has the entry t - 1 of DDPM's
  /// table, alphas_cumprod = alpha^2. Between the steps log alpha is linear, or alpha itself where it falls to 0.
  /// betas: 2 or more between 0 and 1, of which the last may be 1. alphas_cumprod: 2 or more that fall strictly from
  /// below 1, of which the last may be 0. A RequestError says what is wrong with others.
  static Process from_betas(const std::vector<double>& betas);
  static Process from_alphas_cumprod(const std::vector<double>& table);

  /// Any other curve. lambda has to fall strictly over [0, t_max].
  struct Functions {
    std::function<double(double)> alpha, sigma, d_alpha, d_sigma;  // of a time; the latter two are derivatives
    std::function<double(double)> time;                            // of lambda; found by bisection where there is none
    double t_max = 1;
    double least_drift_time = 0;
    std::string name = "custom";
  };
  explicit Process(Functions functions);

  /// The spelling in a configuration: "ve", "vp_linear", …
  std::string name() const;
  /// The table that makes this process again. One that was made from functions has its name alone there.
  Value to_value() const;

  /// Whether alpha is 1 and sigma is t, without an end.
  bool is_variance_exploding() const;
  /// The steps T of the table that the process is made from; 0 where there is none.
  int64_t steps() const;

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

  /// Whether both are of one table. Those made from functions equal their copies alone.
  bool operator==(const Process& other) const;

 private:
  explicit Process(std::shared_ptr<const Curve> curve);

  std::shared_ptr<const Curve> curve_;
};

}  // namespace retort
