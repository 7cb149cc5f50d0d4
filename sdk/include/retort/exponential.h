/// The functions of exponential integrators.
#pragma once

#include "retort/tensor.h"

namespace retort {

/// phi_0(z) = e^z, phi_k(z) = (phi_{k-1}(z) - 1 / (k-1)!) / z, phi_k(0) = 1 / k!, for k = 0 … 8, without cancellation
/// near 0. z: float64, of any shape. Source: Hochbruck & Ostermann 2010 (Acta Numerica 19), section 2.1.
RETORT_API Tensor phi(int k, const Tensor& z);

}  // namespace retort
