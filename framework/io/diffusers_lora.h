/// Low-rank changes of a model in the files that others write: diffusers' own names, new and old, PEFT's, and kohya's.
#pragma once

#include <map>
#include <string>

#include "retort/tensor.h"

namespace retort {

/// Adds the change in `path` to the weights, which have diffusers' names: W + scale (alpha / r) B A. The path is a
/// file, or the folder of one. What a file says of text encoders is left aside. Throws RequestError, in one line, for a
/// change that has no place among the weights, or that is of another kind.
void merge_diffusers_lora(std::map<std::string, Tensor>& weights, const std::string& path, double scale);

}  // namespace retort
