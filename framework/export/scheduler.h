/// The scheduler of diffusers that samples a student as Retort does, with what differs by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "export/outgoing.h"

namespace retort {

/// The library whose files these are, as they name it, and its version.
std::string diffusers_library();
std::string diffusers_version();

struct ExportedScheduler {
  std::string name;  // its class
  Json config;       // its scheduler_config.json
  /// What the scheduler does otherwise than Retort's sampler, a sentence each; empty where both are one.
  std::vector<std::string> differences;
  /// By the number of steps: what `set_timesteps(timesteps=…)` is to be given for Retort's own times.
  std::vector<std::pair<int64_t, std::vector<int64_t>>> timesteps;
  /// The factor of the starting noise in Retort, which diffusers takes for 1 (or for sigma_max).
  double start = 1;
};

/// The factor by which the time is multiplied that the network is told, as "timestep_scale" in its table says
/// (io/diffusers_times.h): 1 without.
double timestep_scale(const Outgoing& model);

/// Timesteps as Python spells them: "[39, 19]".
std::string listed(const std::vector<int64_t>& numbers);

/// Throws RequestError, naming what else would serve, where no scheduler calls the network as it was trained, or where
/// none makes of its output what Retort makes. `grid` are the times of the run's schedule; may be undefined. `steps`
/// are the numbers of steps to list the times of.
ExportedScheduler scheduler_for(const Outgoing& model, const Tensor& grid, const std::vector<int64_t>& steps);

}  // namespace retort
