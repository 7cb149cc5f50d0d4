/// A network in training: its convolutions and norms forward and backward by the kernels, all else by LibTorch.
#pragma once

#include <retort/network.h>

#include <memory>
#include <string>

#include "kernels.h"

namespace retort {

/// An evaluator that is differentiable, in float32. The network is traced once for each shape of its inputs, and
/// anew where it has changed between training and evaluation.
std::shared_ptr<CompiledNetwork> make_trainable(std::shared_ptr<Network> network, const retort_onednn::Kernels& kernels);

}  // namespace retort
