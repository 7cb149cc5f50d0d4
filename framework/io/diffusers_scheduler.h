/// A scheduler's configuration as what it says of its model: the process, what the network predicts and what it sees.
#pragma once

#include <filesystem>

#include "io/diffusers_times.h"
#include "retort/parametrisation.h"

namespace retort {

struct DiffusersScheduler {
  Value process;  // the table of a Process
  Parametrisation parametrisation;
  ForeignTimes times;
};

/// Throws RequestError, naming file and key, for what cannot be said so.
DiffusersScheduler read_diffusers_scheduler(const std::filesystem::path& file);

}  // namespace retort
