/// Batches as the model of an experiment sees them.
#pragma once

#include <vector>

#include "config/experiment.h"

namespace retort {

/// The samples on the backend, with those conditions that the model is given and no others: an unconditional model
/// must not see labels.
Batch for_model(const Experiment& experiment, const Batch& data);
/// The same with one guidance weight for all rows, where the model is given any.
Batch for_model(const Experiment& experiment, const Batch& data, double guidance);

/// Conditions of the same names, their rows one behind the other.
Conditioning joined(const std::vector<Conditioning>& parts);

/// The conditions of n samples that are generated, on the backend. Labels are as evaluate.labels asks
/// (sample/draws.h); other inputs are those of the test split's rows, drawn by the seed. Row i does not depend on n.
Conditioning sample_conditions(const Experiment& experiment, int64_t n, int64_t seed, double guidance);

}  // namespace retort
