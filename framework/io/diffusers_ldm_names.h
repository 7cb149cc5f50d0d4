/// Names of the first code of latent diffusion, which some adapters keep to.
#pragma once

#include <string>

namespace retort {

/// "input_blocks.1.0.in_layers.2" for diffusers' "down_blocks.0.resnets.0.conv1"; "" where there is none. `layers` is
/// layers_per_block; `attends`: whether the up block has attentions, behind which its resampling then stands.
std::string ldm_name(const std::string& module, int64_t layers, bool attends);

}  // namespace retort
