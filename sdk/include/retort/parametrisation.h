/// What a network predicts, and the exact conversions between the five forms in use.
#pragma once

#include <string>

#include "retort/process.h"

namespace retort {

/// What the output stands for:
///   noise  eps, with x = alpha x0 + sigma eps
///   v      alpha eps - sigma x0 (Salimans & Ho 2022, appendix D; here for any alpha, sigma)
///   data   x0
///   edm    F of D(y; s) = c_skip(s) y + c_out(s) F, y = x / alpha, s = sigma / alpha (Karras et al. 2022, eq. 7)
///   flow   dx/dt = alpha' x0 + sigma' eps (Lipman et al. 2023)
enum class Predicts { noise, v, data, edm, flow };

/// out = a x + b output, coefficients [B] float64.
struct RETORT_API Linear {
  Tensor a;
  Tensor b;
  Tensor operator()(const Tensor& x, const Tensor& output) const;
};

struct RETORT_API Parametrisation {
  Predicts predicts = Predicts::edm;
  double sigma_data = 0.5;  // standard deviation of the data, for "edm" only

  Parametrisation() = default;
  Parametrisation(Predicts p, double sd) : predicts(p), sigma_data(sd) {}
  /// From the keys `parametrisation` and `sigma_data`.
  explicit Parametrisation(Params& p);
  std::string name() const;

  /// The data prediction D(x, t) = E[x0 | x] from the output. Finite also where alpha = 0 (but for "noise").
  Linear to_data(const Process& process, const Tensor& t) const;
  /// The noise prediction, without cancellation where sigma is small.
  Linear to_noise(const Process& process, const Tensor& t) const;
  /// The output that would predict x0 = data and eps = noise: the regression target of training.
  Tensor target(const Process& process, const Tensor& t, const Tensor& data, const Tensor& noise) const;
  /// What the network sees of x, and of t (a number of order one): EDM's c_in and c_noise for "edm"; otherwise x
  /// itself (scaled to unit variance on a variance-exploding process) and t / t_max.
  Tensor input_scale(const Process& process, const Tensor& t) const;
  Tensor noise_label(const Process& process, const Tensor& t) const;
};

}  // namespace retort
