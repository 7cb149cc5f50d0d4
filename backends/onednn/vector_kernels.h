/// The kernels that oneDNN lacks, by Highway.
#pragma once

#include "kernels.h"

namespace retort_onednn {

void group_norm(const Norm& norm);
void attention(const Attention& attention);

}  // namespace retort_onednn
