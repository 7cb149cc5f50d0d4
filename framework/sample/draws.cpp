#include "sample/draws.h"

#include <ATen/ATen.h>

namespace retort {

Tensor labels_by_shares(const std::vector<double>& shares, int64_t n) {
  std::vector<int64_t> counts(shares.size(), 0), labels(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    size_t chosen = 0;
    double most = -1e300;
    for (size_t c = 0; c < shares.size(); ++c) {
      const double due = shares[c] * static_cast<double>(i + 1) - static_cast<double>(counts[c]);
      if (shares[c] > 0 && due > most) {
        most = due;
        chosen = c;
      }
    }
    counts[chosen] += 1;
    labels[static_cast<size_t>(i)] = static_cast<int64_t>(chosen);
  }
  return at::tensor(labels, at::kLong);
}

Tensor sample_labels(const Experiment& experiment, int64_t n) { return labels_by_shares(experiment.class_shares(), n); }

Tensor drawn_rows(const Dataset& dataset, int64_t count, int64_t seed) {
  const int64_t size = dataset.size(Split::test);
  if (count >= size) {
    return at::arange(size, at::kLong);
  }
  const auto options = at::TensorOptions().dtype(at::kLong);
  return at::randperm(size, seeded(static_cast<uint64_t>(seed), "data rows"), options).narrow(0, 0, count).clone();
}

}  // namespace retort
