/// Which classes samples are of, and which rows of the data they are shown and measured against.
#pragma once

#include "config/experiment.h"

namespace retort {

/// Labels [n] int64 in these shares (which sum to 1), spread evenly: after any number of rows each class has had what
/// is due to it, less than one row more or less. Row i does not depend on n; equal shares go round the classes.
Tensor labels_by_shares(const std::vector<double>& shares, int64_t n);

/// The labels of n samples of a class-conditional model, as evaluate.labels asks: in the training split's shares, or
/// equally often.
Tensor sample_labels(const Experiment& experiment, int64_t n);

/// Indices [count] of rows of the test split, drawn over all of it by a seed; all, in order, where there are no more. A
/// smaller count gives the first rows of a larger one.
Tensor drawn_rows(const Dataset& dataset, int64_t count, int64_t seed);

}  // namespace retort
