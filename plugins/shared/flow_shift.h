/// The shift of times towards noise, which flow models of large pictures are trained and sampled with.
#pragma once

#include <ATen/ATen.h>

namespace retort {

/// s t / (1 + (s - 1) t) of t in [0, 1]: on a rectified flow the noise level t / (1 - t) is multiplied by s. It is
/// written such that 0, 1, and all t where s = 1, stay what they are to the bit.
/// Source: Esser et al. 2024 (arXiv 2403.03206), eq. 23.
inline at::Tensor shifted(const at::Tensor& t, double s) { return t / (t + (1 - t) / s); }

}  // namespace retort
