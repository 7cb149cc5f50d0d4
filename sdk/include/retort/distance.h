/// The distance between a prediction and its target.
#pragma once

#include <memory>
#include <string>

#include "retort/params.h"
#include "retort/tensor.h"

namespace retort {

class Network;

/// The network of the checkpoint that the path `key` names, frozen: gradients pass through its features, and leave its
/// weights alone. Null where the key is empty. Throws RequestError where it has no features of samples like ours.
RETORT_API std::shared_ptr<Network> feature_network(Params& p, const std::string& key, const std::string& doc);

/// With d = prediction - target, of D elements a sample:
///   l2            mean of d^2
///   l2_sum        sum of d^2 over the sample
///   l1            mean of |d|
///   pseudo_huber  mean of sqrt(d^2 + c^2) - c, c = 0.001 by default (Direct CM's and latent consistency's)
///   pseudo_huber_vector  sqrt(||d||^2 + c^2) - c over the whole sample, c = 0.00054 sqrt(D) by default
///                        (Song & Dhariwal 2023, section 3.3)
///   cauchy        log(1 + ||d||^2 / (2 c^2)) over the whole sample, c as before: outliers, such as latents have, count
///                 little (Dao et al. 2025, arXiv 2502.01441)
///   features      sum of (phi(prediction) - phi(target))^2, phi the features of the network of `distance_features`.
///                 Where these are maps [B, C, …], the channels of a place are brought to length 1, and places are
///                 averaged: LPIPS with weights of 1 (Zhang et al. 2018, arXiv 1801.03924, eq. 1)
class RETORT_API Distance {
 public:
  /// From the keys `distance`, `huber_c`, which is the c of all of them, and `distance_features`, a checkpoint.
  explicit Distance(Params& p, const std::string& fallback = "l2");
  /// prediction, target: [B, …]. Returns [B].
  Tensor operator()(const Tensor& prediction, const Tensor& target) const;

 private:
  std::string name_;
  double c_;
  std::shared_ptr<Network> features_;
};

}  // namespace retort
