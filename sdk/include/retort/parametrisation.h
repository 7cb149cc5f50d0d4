/// What a network predicts, with the exact conversions between the five forms in use, and what it sees.
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

/// What the output means.
struct RETORT_API Prediction {
  Predicts predicts = Predicts::edm;
  double sigma_data = 0.5;  // standard deviation of the data, for "edm" only

  std::string name() const;

  /// The data prediction D(x, t) = E[x0 | x] from the output. Finite also where alpha = 0 (but for "noise").
  Linear to_data(const Process& process, const Tensor& t) const;
  /// The noise prediction, without cancellation where sigma is small.
  Linear to_noise(const Process& process, const Tensor& t) const;
  /// The output that would predict x0 = data and eps = noise: the regression target of training.
  Tensor target(const Process& process, const Tensor& t, const Tensor& data, const Tensor& noise) const;
};

/// What the network sees of x, and of t:
///   automatic  edm where it predicts EDM's F; the same with sigma_data = 1 (x at unit variance) on a
///              variance-exploding process; fraction otherwise
///   edm        c_in(s) = 1 / sqrt(s^2 + sigma_data^2) of y = x / alpha, and log(s) / 4 (Karras et al. 2022, table 1)
///   fraction   x itself, and t / t_max
///   discrete   x itself, and the step, 0 to T - 1, as networks of diffusers count it: on a table of steps alone
enum class Sees { automatic, edm, fraction, discrete };

struct RETORT_API Preconditioning {
  Sees sees = Sees::automatic;
  double sigma_data = 0.5;

  std::string name() const;
  /// What "automatic" stands for; others are what they are.
  Preconditioning resolved(Predicts predicts, const Process& process) const;
  /// The factor of x (not of y), [B].
  Tensor c_in(const Process& process, const Tensor& t) const;
  /// What the network is told of the time, [B].
  Tensor c_noise(const Process& process, const Tensor& t) const;
};

/// Both, for one network: what its output means, and what it sees.
struct RETORT_API Parametrisation : Prediction {
  Preconditioning preconditioning;

  Parametrisation() = default;
  Parametrisation(Predicts p, double sigma_data, Sees sees = Sees::automatic)
      : Prediction{p, sigma_data}, preconditioning{sees, sigma_data} {}
  /// From the keys `parametrisation`, `sigma_data` and `preconditioning`.
  explicit Parametrisation(Params& p);
  /// Throws RequestError, about the key of `p`, where the network cannot see times of this process so.
  void check(const Process& process, const Params& p) const;
  /// Writes the keys that make it again.
  void write(Value& table) const;

  Tensor c_in(const Process& process, const Tensor& t) const;
  Tensor c_noise(const Process& process, const Tensor& t) const;
};

}  // namespace retort
