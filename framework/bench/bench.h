/// Where the time of a training step and of sampling goes, on this machine.
#pragma once

#include "config/experiment.h"
#include "io/json.h"

namespace retort {

/// Times every stage `rounds` times in turn (A B C A B C …), after one round that is not counted. Returns
///   { "machine": …, "backend": …, "batch": B, "gemm_gflops": …, "network_gflop": … (of one row),
///     "stages": [{ "name", "median", "low", "high" (seconds, and quartiles), "rows", "share_of_gemm" }],
///     "teacher_evaluations": { "packed", "unpacked" } (of one training step, for losses that solve) }
Json bench(Experiment& experiment, int64_t rounds);

}  // namespace retort
