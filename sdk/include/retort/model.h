/// A network together with what its output means: a denoiser, a consistency function, a flow map.
#pragma once

#include <memory>

#include "retort/network.h"
#include "retort/parametrisation.h"
#include "retort/policy.h"

namespace retort {

/// How f(x, t_min) = x is enforced. With y = x / alpha, s = sigma / alpha:
///   edm            f = c_skip(s) y + c_out(s) F, as the denoiser itself (Karras et al. 2022, table 1)
///   sigma_shifted  the same with s - sigma_min in place of s where it must vanish (Song et al. 2023, appendix C)
///   time_scaled    f = c_skip x + c_out D, c_skip = sd^2 / (r^2 + sd^2), c_out = r / sqrt(r^2 + sd^2), r = scale t
///                  (latent consistency models, Luo et al. 2023)
enum class BoundaryKind { edm, sigma_shifted, time_scaled };

struct RETORT_API Boundary {
  BoundaryKind kind = BoundaryKind::edm;
  double sigma_min = 0.002;
  double sigma_data = 0.5;
  double time_scale = 10.0;

  Boundary() = default;
  /// From the keys `boundary`, `sigma_min` and `time_scale`; sigma_data is the parametrisation's.
  Boundary(Params& p, const Parametrisation& parametrisation);
};

/// What a trained network is good for, and so what samplers and metrics may ask of it:
///   denoiser     D(x, t): a diffusion model, sampled by a solver
///   consistency  f(x, t): the end of the way from x (Song et al. 2023)
///   flow_map     X(x, t, s): the state at time s of the way through x (Boffi et al. 2024)
///   generator    D(x, t_max) alone, from pure noise: one step
///   classifier   logits of clean samples
///   autoencoder  a reconstruction of clean samples
///   embedding    features of clean samples, and of what describes them
///   policy       a way from x over a segment of time, laid out in one evaluation (Chen et al. 2025, pi-Flow)
enum class Makes { denoiser, consistency, flow_map, generator, classifier, policy, autoencoder, embedding };

/// Whether samples can be made by it: it knows of noise and time.
inline bool makes_samples(Makes makes) {
  return makes != Makes::classifier && makes != Makes::autoencoder && makes != Makes::embedding;
}

/// Whether it makes samples in a few steps of its own, without a solver.
inline bool samples_by_itself(Makes makes) { return makes_samples(makes) && makes != Makes::denoiser; }

class RETORT_API Model {
 public:
  Model(std::shared_ptr<CompiledNetwork> network, Process process, Parametrisation parametrisation,
        Boundary boundary = {}, Makes makes = Makes::consistency, bool two_times = false);

  const Process& process() const { return process_; }
  const Parametrisation& parametrisation() const { return parametrisation_; }
  Makes makes() const { return makes_; }
  CompiledNetwork& network() const { return *network_; }

  /// The network's output, of `ModelSpec::outputs` samples' worth. x: [B, …], t: [B] float64. Guidance weights w go to
  /// it as log(1 + w), an end time s as c_noise(t) - c_noise(s).
  Tensor raw(const Tensor& x, const Tensor& t, const Conditioning& condition) const;
  /// D(x, t), the predicted clean data; of several, as a policy has them, the last one: that at t itself.
  Tensor data(const Tensor& x, const Tensor& t, const Conditioning& condition) const;
  /// f(x, t), the consistency function.
  Tensor consistency(const Tensor& x, const Tensor& t, const Conditioning& condition) const;

  /// The way from x at time t to time s: [B], as the network lays it out: clean data at as many times as its outputs.
  Policy policy(const Tensor& x, const Tensor& t, const Tensor& s, const Conditioning& condition) const;

  /// The state at time s: [B] of the way through x at time t. A policy is walked. With an end time in the network, x +
  /// (s - t) u(x, t, s), where u is its output (Geng et al. 2025, MeanFlow, eq. 4); without, the DDIM step from D(x,
  /// t).
  Tensor jump(const Tensor& x, const Tensor& t, const Tensor& s, const Conditioning& condition) const;
  /// Where the way through x at time t ends, as the model says: f of a consistency function; the jump to time `end`:
  /// [B] of a flow map or a policy (to 0, where that is undefined); D of any other.
  Tensor endpoint(const Tensor& x, const Tensor& t, const Conditioning& condition, const Tensor& end = {}) const;

  /// An output and its derivative along (dx, dt).
  struct Tangent {
    Tensor output;      // raw(x, t, condition), differentiable
    Tensor derivative;  // d/de raw(x + e dx, t + e dt, condition) at e = 0; without gradients
  };
  /// In forward mode, in one evaluation. dx: [B, …]; dt: [B] float64. Needs a network whose operators have forward-mode
  /// derivatives, or throws Error.
  Tangent tangent(const Tensor& x, const Tensor& t, const Conditioning& condition, const Tensor& dx,
                  const Tensor& dt) const;

 private:
  struct Call {
    Tensor x, c_noise;
    Conditioning condition;
  };
  Call call(const Tensor& x, const Tensor& t, const Conditioning& condition) const;

  std::shared_ptr<CompiledNetwork> network_;
  Process process_;
  Parametrisation parametrisation_;
  Boundary boundary_;
  Makes makes_;
  bool two_times_;  // whether the network is given an end time
};

}  // namespace retort
