#include "retort/distance.h"

#include <ATen/ATen.h>

#include <cmath>

#include "retort/fused.h"

namespace retort {

Distance::Distance(Params& p, const std::string& fallback)
    : name_(p.choice("distance", fallback, {"l2", "l2_sum", "l1", "pseudo_huber", "pseudo_huber_vector", "cauchy"},
                     "between prediction and target; pseudo_huber per element, pseudo_huber_vector and cauchy per "
                     "sample")),
      c_(p.get("huber_c", 0.0,
               "c of the pseudo-Huber and Cauchy distances; 0: 0.001 per element, 0.00054 sqrt(dimension) per sample",
               at_least(0))) {}

Tensor Distance::operator()(const Tensor& prediction, const Tensor& target) const {
  using arithmetic::Measure;
  if (name_ == "l2") {
    return mean_measure(Measure::square, prediction, target);
  }
  if (name_ == "l1") {
    return mean_measure(Measure::absolute, prediction, target);
  }
  if (name_ == "pseudo_huber") {
    return mean_measure(Measure::pseudo_huber, prediction, target, c_ > 0 ? c_ : 0.001);
  }
  const auto dimension = static_cast<double>(prediction[0].numel());
  if (name_ == "l2_sum") {
    return mean_measure(Measure::square, prediction, target) * dimension;
  }
  const double c = c_ > 0 ? c_ : 0.00054 * std::sqrt(dimension);
  const Tensor square = mean_measure(Measure::square, prediction, target) * dimension;
  if (name_ == "cauchy") {
    return (square / (2 * c * c)).log1p();
  }
  // sqrt(square + c^2) - c without cancellation for small squares
  return square / ((square + c * c).sqrt() + c);
}

}  // namespace retort
