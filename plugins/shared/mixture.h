/// A Gaussian mixture as parameters, shared by the teacher and the data set of that name.
#pragma once

#include <retort/params.h>

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace retort {

/// K components in D dimensions; component k has covariance Q_k diag(variance_k) Q_k^T.
struct Mixture {
  Tensor log_weights;  // [K]
  Tensor means;        // [K, D]
  Tensor variances;    // [K, D], along the columns of Q
  Tensor bases;        // [K, D, D], the Q_k; undefined where all are the identity

  explicit Mixture(Params& p) {
    const std::string layout = p.choice("layout", "custom", {"custom", "ring", "grid"},
                                        "custom: the lists below; ring: `modes` points on a circle of radius `scale`; "
                                        "grid: `modes` points, a square number, on a square of half-width `scale`");
    const int64_t modes =
        p.get("modes", 8, "layouts ring and grid: number of components, of equal weight", at_least(1));
    const double scale = p.get("scale", 1.0, "layouts ring and grid: radius or half-width", more_than(0));
    const double std = p.get("std", 0.05, "layouts ring and grid: standard deviation of each component", more_than(0));
    const auto weights =
        p.get("weights", std::vector<double>{}, "custom: weights, scaled to sum 1; empty: equal", more_than(0));
    const auto rows = p.get("means", std::vector<std::vector<double>>{{-1.0}, {1.0}}, "custom: one row per component");
    const auto stds = p.get("stds", std::vector<std::vector<double>>{{0.2}, {0.2}},
                            "custom: standard deviations, one number per component, or one row with one per dimension");
    const auto covariances = p.get("covariances", std::vector<std::vector<double>>{},
                                   "custom: full covariances instead of stds, one row of D * D numbers per component");
    if (layout != "custom") {
      place(p, layout, modes, scale, std);
      return;
    }
    const size_t k = rows.size();
    const size_t d = rows.empty() ? 0 : rows[0].size();
    if (d == 0) {
      throw p.error("means", "is empty; expected one row per component");
    }
    for (const auto& row : rows) {
      if (row.size() != d) {
        throw p.error("means", "has rows of " + std::to_string(d) + " and " + std::to_string(row.size()) +
                                   " numbers; expected one length");
      }
    }
    means = matrix(rows);
    if (!weights.empty() && weights.size() != k) {
      throw p.error("weights",
                    "has " + std::to_string(weights.size()) + " numbers for " + std::to_string(k) + " means");
    }
    const Tensor w =
        weights.empty() ? at::ones({static_cast<int64_t>(k)}, at::kDouble) : at::tensor(weights, at::kDouble);
    log_weights = (w / w.sum()).log();
    if (!covariances.empty()) {
      read_covariances(p, covariances, k, d);
      return;
    }
    if (stds.size() != k) {
      throw p.error("stds", "has " + std::to_string(stds.size()) + " entries for " + std::to_string(k) + " means");
    }
    variances = at::empty_like(means);
    for (size_t i = 0; i < k; ++i) {
      if (stds[i].size() != 1 && stds[i].size() != d) {
        throw p.error("stds", "entry " + std::to_string(i + 1) + " has " + std::to_string(stds[i].size()) +
                                  " numbers; expected 1 or " + std::to_string(d));
      }
      for (const double v : stds[i]) {
        if (!(v > 0)) {
          throw p.error("stds", Value{v, {}}.text() + " is out of range; expected > 0");
        }
      }
      variances[static_cast<int64_t>(i)] = at::tensor(stds[i], at::kDouble).square();
    }
  }

  int64_t components() const { return means.size(0); }
  int64_t dimension() const { return means.size(1); }

  /// [n, D] float64 samples, and the component of each [n].
  std::pair<Tensor, Tensor> sample(int64_t n, at::Generator generator) const {
    const Tensor component = at::multinomial(log_weights.exp(), n, /*replacement=*/true, generator);
    Tensor z = at::randn({n, dimension()}, generator, at::TensorOptions().dtype(at::kDouble));
    z = z * variances.index_select(0, component).sqrt();
    if (bases.defined()) {
      z = at::bmm(bases.index_select(0, component), z.unsqueeze(2)).squeeze(2);
    }
    return {means.index_select(0, component) + z, component};
  }

 private:
  static Tensor matrix(const std::vector<std::vector<double>>& rows) {
    std::vector<Tensor> out;
    for (const auto& row : rows) {
      out.push_back(at::tensor(row, at::kDouble));
    }
    return at::stack(out);
  }

  void place(Params& p, const std::string& layout, int64_t modes, double scale, double std) {
    if (layout == "ring") {
      const Tensor angle = at::arange(modes, at::kDouble) * (2 * std::numbers::pi / static_cast<double>(modes));
      means = at::stack({angle.cos(), angle.sin()}, 1) * scale;
    } else {
      const auto side = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(modes))));
      if (side * side != modes || side < 2) {
        throw p.error("modes", std::to_string(modes) + " points make no square grid; expected 4, 9, 16, 25, …");
      }
      const Tensor line = at::linspace(-scale, scale, side, at::kDouble);
      means = at::cartesian_prod({line, line});
    }
    log_weights = at::full({modes}, -std::log(static_cast<double>(modes)), at::kDouble);
    variances = at::full_like(means, std * std);
  }

  void read_covariances(Params& p, const std::vector<std::vector<double>>& covariances, size_t k, size_t d) {
    if (covariances.size() != k) {
      throw p.error("covariances",
                    "has " + std::to_string(covariances.size()) + " rows for " + std::to_string(k) + " means");
    }
    for (const auto& row : covariances) {
      if (row.size() != d * d) {
        throw p.error("covariances",
                      "has a row of " + std::to_string(row.size()) + " numbers; expected " + std::to_string(d * d));
      }
    }
    const auto side = static_cast<int64_t>(d);
    const Tensor c = matrix(covariances).view({static_cast<int64_t>(k), side, side});
    if (!at::allclose(c, c.transpose(1, 2))) {
      throw p.error("covariances", "holds a matrix that is not symmetric");
    }
    std::tie(variances, bases) = at::linalg_eigh(c);
    if ((variances <= 0).any().item<bool>()) {
      throw p.error("covariances", "holds a matrix that is not positive definite");
    }
  }
};

}  // namespace retort
