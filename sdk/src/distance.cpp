#include "retort/distance.h"

#include <ATen/ATen.h>

#include <cmath>

namespace retort {

Distance::Distance(Params& p)
    : name_(p.choice("distance", "l2", {"l2", "l1", "pseudo_huber", "pseudo_huber_vector"},
                     "between prediction and target; pseudo_huber per element, pseudo_huber_vector per sample")),
      c_(p.get("huber_c", 0.0,
               "c of the pseudo-Huber distances; 0: 0.001 per element, 0.00054 sqrt(dimension) per sample",
               at_least(0))) {}

Tensor Distance::operator()(const Tensor& prediction, const Tensor& target) const {
  const Tensor d = (prediction - target).flatten(1);
  if (name_ == "l2") {
    return d.square().mean(1);
  }
  if (name_ == "l1") {
    return d.abs().mean(1);
  }
  if (name_ == "pseudo_huber") {
    const double c = c_ > 0 ? c_ : 0.001;
    // sqrt(d^2 + c^2) - c without cancellation for small d
    return (d.square() / ((d.square() + c * c).sqrt() + c)).mean(1);
  }
  const double c = c_ > 0 ? c_ : 0.00054 * std::sqrt(static_cast<double>(d.size(1)));
  const Tensor square = d.square().sum(1);
  return square / ((square + c * c).sqrt() + c);
}

}  // namespace retort
