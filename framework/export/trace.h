/// A network as a TorchScript module that stands alone: weights under their own names, batches of any size.
#pragma once

#include <torch/csrc/jit/api/module.h>

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "retort/network.h"

namespace retort {

/// One argument of the module, after x: how it is called, and rows of it for a batch of so many.
struct TracedInputs {
  std::vector<std::string> names;                                // "x", "c_noise", "labels", …
  std::function<std::vector<Tensor>(int64_t rows)> examples;     // one for each name
  std::function<Tensor(const std::vector<Tensor>& given)> call;  // the network, on such a list
};

/// The first line of what an exception of LibTorch says, which may begin with empty ones.
std::string first_line_of(const std::exception& e);

/// The module, whose method forward takes these arguments.
///
/// LibTorch's tracer writes numbers that C++ reads from a tensor's sizes as constants. So the network is traced at two
/// batch sizes: a whole number that differs between the two traces is a B + b of the batch size B, and is computed from
/// it in what comes out. Devices that operators are told are that of x. Throws RequestError, naming `path`, where the
/// traces differ in more than that.
torch::jit::Module trace_network(Network& network, const TracedInputs& inputs, const std::string& path);

}  // namespace retort
