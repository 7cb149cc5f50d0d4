/// A network together with what its output means: the denoiser D(x, t) and the consistency function f(x, t).
#pragma once

#include <memory>

#include "retort/network.h"
#include "retort/parametrisation.h"

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

class RETORT_API Model {
 public:
  Model(std::shared_ptr<CompiledNetwork> network, Process process, Parametrisation parametrisation, Boundary boundary = {});

  const Process& process() const { return process_; }
  const Parametrisation& parametrisation() const { return parametrisation_; }
  CompiledNetwork& network() const { return *network_; }

  /// The network's output. x: [B, …], t: [B] float64. Guidance weights w go to it as log(1 + w), end times as t itself.
  Tensor raw(const Tensor& x, const Tensor& t, const Conditioning& condition) const;
  /// D(x, t), the predicted clean data.
  Tensor data(const Tensor& x, const Tensor& t, const Conditioning& condition) const;
  /// f(x, t), the consistency function.
  Tensor consistency(const Tensor& x, const Tensor& t, const Conditioning& condition) const;

 private:
  std::shared_ptr<CompiledNetwork> network_;
  Process process_;
  Parametrisation parametrisation_;
  Boundary boundary_;
};

}  // namespace retort
