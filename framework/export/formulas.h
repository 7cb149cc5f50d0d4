/// What stands between a student and its network, as formulas in TorchScript: the forward process, what the network
/// sees, what its output means, and the boundary.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "export/outgoing.h"

namespace retort {

/// What a model's network is called with at these rows, as `Model` calls it.
struct NetworkCall {
  Tensor x, c_noise;
  Conditioning condition;
};
NetworkCall network_call(const Outgoing& model, const Trial& on);

/// Methods alpha(t), sigma(t), and, where the student needs them, d_alpha(t) and d_sigma(t), of times t: [B] float64.
/// Throws RequestError for a process that has no formula here.
std::string process_source(const Outgoing& model);
/// The buffers that they read.
std::vector<std::pair<std::string, Tensor>> formula_tables(const Outgoing& model);

}  // namespace retort
