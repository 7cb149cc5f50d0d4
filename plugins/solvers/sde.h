/// Single steps of the reverse SDE: what several stochastic solvers share.
///
/// Let l = sigma / alpha be the noise level, lambda = -log l, and a step go from t to s with h = lambda_s - lambda_t.
/// All numbers here are [B] float64, and finite also where alpha(from) = 0 or sigma(to) = 0.
#pragma once

#include <retort/fused.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

namespace retort {

/// The SDE whose noise counts eta times, solved exactly where the data prediction D stays constant. It has the ODE's
/// marginals for any eta; 0 is the ODE, 1 the reverse SDE of Song et al. 2021 (arXiv 2011.13456). With H = (1 + eta) h:
///   x_s = sigma_s / sigma_t e^{-eta h} x + alpha_s (1 - e^{-H}) D + sigma_s sqrt(1 - e^{-2 eta h}) z
/// Source: Xue et al. 2023 (arXiv 2309.05019), where eta is tau^2; k-diffusion's sample_dpmpp_2m_sde (Crowson et al.).
struct ReverseSde {
  ReverseSde(const Times& from, const Times& to, const Tensor& eta) {
    const Tensor h = to.lambda() - from.lambda();
    const Tensor drawn = at::where(eta > 0, eta * h, at::zeros_like(h));  // h may be infinite
    length = h + drawn;
    x = to.sigma() / from.sigma() * (-drawn).exp();
    data = -to.alpha() * (-length).expm1();
    noise = to.sigma() * (-(-2 * drawn).expm1()).sqrt();
  }

  Tensor length;          // H
  Tensor x, data, noise;  // what each is multiplied by
};

/// The ancestral step: down along the ODE below the level of its end, then up again by noise. With
///   up = eta l_s sqrt(1 - (l_s / l_t)^2), down = sqrt(l_s^2 - up^2)
/// it is x_s = alpha_s (down / l_t x / alpha_t + (1 - down / l_t) D + up z). eta is 0 to 1; at 1 it is ReverseSde's.
/// Source: Song et al. 2021 (arXiv 2010.02502), eq. 16; k-diffusion's get_ancestral_step (Crowson et al.).
struct Ancestral {
  Ancestral(const Times& from, const Times& to, double eta) {
    const Tensor &level = to.noise_level(), share = level / from.noise_level();
    const Tensor up = eta * level * (1 - share.square()).sqrt();
    down = (level.square() - up.square()).sqrt();
    x = to.alpha() * down / from.sigma();
    data = to.alpha() * (1 - down / from.noise_level());
    noise = to.alpha() * up;
  }

  Tensor down;            // the level in between
  Tensor x, data, noise;  // what each is multiplied by
};

/// Either of them; `z` may be undefined where none is drawn.
template <class Method>
Tensor apply(const Method& method, const Tensor& x, const Tensor& data, const Tensor& z) {
  std::vector<Term> terms = {{method.x, x}, {method.data, data}};
  if (z.defined()) {
    terms.push_back({method.noise, z});
  }
  return combine(terms);
}

}  // namespace retort
