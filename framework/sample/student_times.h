/// Where a student's sampler best begins its steps.
#pragma once

#include <functional>

#include "retort/process.h"

namespace retort {

/// The times [steps + 1] float64 with the same ends as `times` at which `value` is least, as far as a search by one
/// time after another finds them: each moves between its neighbours in lambda = log(alpha / sigma), by golden sections,
/// for `rounds` rounds. On a table of steps the times found are steps. Song et al. 2023 (arXiv 2303.01469, appendix C)
/// search so too, by ternary sections, from the first time on; here later times get another turn once the earlier ones
/// have moved. `said` is told the value after each round.
Tensor search_sampler_times(const Process& process, const Tensor& times, int64_t rounds,
                            const std::function<double(const Tensor&)>& value,
                            const std::function<void(int64_t round, double value)>& said);

}  // namespace retort
