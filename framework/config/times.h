/// What the times of a schedule have to be.
#pragma once

#include <string>

#include "retort/schedule.h"

namespace retort {

/// The schedule's times on a process. Throws RequestError, which begins with `place`, where they do not fall strictly,
/// or begin beyond the process's noisiest time.
Tensor checked_times(const Schedule& schedule, const Process& process, const std::string& place, double progress = 0);

}  // namespace retort
