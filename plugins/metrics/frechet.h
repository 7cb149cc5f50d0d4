/// The Frechet distance of two Gaussians, and Gaussians fitted to rows.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "retort/tensor.h"

namespace retort {

/// Mean and covariance (with n - 1) of the rows of x: [n, F], n >= 2, in float64.
struct Gaussian {
  Tensor mean;        // [F]
  Tensor covariance;  // [F, F]

  Gaussian(Tensor mean_, Tensor covariance_) : mean(std::move(mean_)), covariance(std::move(covariance_)) {}
  explicit Gaussian(const Tensor& x)
      : mean(x.to(at::kDouble).mean(0)), covariance(at::cov(x.to(at::kDouble).t()).view({x.size(1), x.size(1)})) {}

  /// The symmetric root of the covariance.
  Tensor root() const {
    const auto [values, vectors] = at::linalg_eigh(covariance);
    return at::matmul(vectors * values.clamp_min(0).sqrt(), vectors.t());
  }
};

/// ||mu - mu'||^2 + tr(C + C' - 2 (C C')^(1/2)) (Dowson & Landau 1982, eq. 16). root: that of a.
inline double frechet_distance(const Gaussian& a, const Tensor& root, const Gaussian& b) {
  // tr (C C')^(1/2) = tr (S C' S)^(1/2) with S = C^(1/2): symmetric, so its eigenvalues are real and accurate.
  const Tensor product = at::matmul(at::matmul(root, b.covariance), root);
  const Tensor cross = at::linalg_eigvalsh((product + product.t()) / 2).clamp_min(0).sqrt().sum();
  const Tensor means = (a.mean - b.mean).square().sum();
  return std::max(0.0, (means + a.covariance.trace() + b.covariance.trace() - 2 * cross).item<double>());
}

inline double frechet_distance(const Gaussian& a, const Gaussian& b) { return frechet_distance(a, a.root(), b); }

}  // namespace retort
