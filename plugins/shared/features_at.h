/// The configured features of rows of a data set, whose pictures are never there all at once.
#pragma once

#include <retort/metric.h>

#include <ATen/ATen.h>

#include <vector>

namespace retort {

/// Rows of pictures that are read at a time.
inline constexpr int64_t pictures_at_once = 256;

/// [n, F]; index: [n] int64.
inline Tensor features_at(const Evaluation& evaluation, const Dataset& dataset, Split split, const Tensor& index) {
  const auto options = evaluation.start().x.options();
  std::vector<Tensor> out;
  for (const Tensor& rows : index.split(pictures_at_once)) {
    out.push_back(evaluation.features(dataset.batch(split, rows).x.to(options)));
  }
  return at::cat(out);
}

}  // namespace retort
