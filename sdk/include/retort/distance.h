/// The distance between a prediction and its target.
#pragma once

#include <string>

#include "retort/params.h"
#include "retort/tensor.h"

namespace retort {

/// With d = prediction - target, of D elements a sample:
///   l2            mean of d^2
///   l2_sum        sum of d^2 over the sample
///   l1            mean of |d|
///   pseudo_huber  mean of sqrt(d^2 + c^2) - c, c = 0.001 by default (Direct CM's and latent consistency's)
///   pseudo_huber_vector  sqrt(||d||^2 + c^2) - c over the whole sample, c = 0.00054 sqrt(D) by default
///                        (Song & Dhariwal 2023, section 3.3)
///   cauchy        log(1 + ||d||^2 / (2 c^2)) over the whole sample, c as before: outliers, such as latents have, count
///                 little (Dao et al. 2025, arXiv 2502.01441)
class RETORT_API Distance {
 public:
  /// From the keys `distance` and `huber_c`, which is the c of all of them.
  explicit Distance(Params& p, const std::string& fallback = "l2");
  /// prediction, target: [B, …]. Returns [B].
  Tensor operator()(const Tensor& prediction, const Tensor& target) const;

 private:
  std::string name_;
  double c_;
};

}  // namespace retort
