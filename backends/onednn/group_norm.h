/// GroupNorm, scale and shift, and SiLU in one kernel, by Highway: oneDNN has none.
#pragma once

#include "kernels.h"

namespace retort_onednn {

void group_norm(const NormShape& shape, const void* src, const float* weight, const float* bias, const float* scale,
                const float* shift, int64_t row_stride, void* dst);

}  // namespace retort_onednn
