/// Classifier-free guidance as teachers have it: its keys, and how two predictions are joined.
#pragma once

#include <retort/params.h>
#include <retort/tensor.h>

#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

namespace retort {

inline double guidance_weight(Params& p) {
  return p.get("guidance", 1.0, "w of classifier-free guidance; 1: none, 0: unconditional", at_least(0));
}

/// The weights that rows may bring along; none where one weight is fixed.
inline std::optional<std::pair<double, double>> guidance_range(Params& p) {
  const std::vector<double> range = p.get("guidance_range", std::vector<double>{},
                                          "least and greatest w, in place of one fixed; empty: fixed", at_least(0));
  if (range.empty()) {
    return {};
  }
  if (range.size() != 2 || range[0] >= range[1]) {
    throw p.error("guidance_range", "is no range; expected two rising numbers, such as [1, 8]");
  }
  return std::pair(range[0], range[1]);
}

/// u + w (c - u) of both predictions in one batch, c first: [2 B, …]. w: [B], or undefined where it is `fixed`.
inline Tensor guided(const Tensor& both, const Tensor& w, double fixed) {
  const auto halves = both.chunk(2);
  const Tensor difference = halves[0] - halves[1];
  return halves[1] + (w.defined() ? rows(w, both) * difference : fixed * difference);
}

}  // namespace retort
