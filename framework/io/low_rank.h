/// Low-rank changes of weights, and their names in files: W = W0 + scale B A.
#pragma once

#include <map>
#include <string>

#include <c10/core/ScalarType.h>

#include "retort/tensor.h"

namespace retort {

/// The module of a weight, as PEFT lists it: "conv0" of "conv0.weight".
std::string low_rank_module(const std::string& weight);

/// The names of A and B for the weight "conv0.weight": "conv0.lora_A.weight" and "conv0.lora_B.weight", as PEFT has
/// them.
std::string low_rank_name(const std::string& weight, char factor);

/// scale B A in the shape of W. A: [r, in] or [r, in, h, w]; B: [out, r] or [out, r, 1, 1].
Tensor low_rank_change(const Tensor& a, const Tensor& b, double scale);

/// The type itself, or float32 where it is shorter: a small change of a weight is lost in half precision.
c10::ScalarType at_least_float32(c10::ScalarType type);

/// Adds the changes in `factors` to the weights, those that are changed at least in float32. Throws RequestError,
/// naming `path`, where one has no weight to change.
void merge_low_rank(std::map<std::string, Tensor>& weights, const std::map<std::string, Tensor>& factors, double scale,
                    const std::string& path);

}  // namespace retort
