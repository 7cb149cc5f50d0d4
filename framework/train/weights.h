/// The weights of a network as a named list: copied, averaged, saved and loaded.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "retort/network.h"

namespace retort {

/// Parameters and buffers by name, sharing memory with the network.
struct Weights {
  Weights() = default;
  explicit Weights(Network& network);

  std::vector<std::string> names;
  std::vector<Tensor> tensors;  // parameters first
  size_t parameter_count = 0;

  std::vector<Tensor> parameters() const {
    return {tensors.begin(), tensors.begin() + static_cast<std::ptrdiff_t>(parameter_count)};
  }
  std::vector<Tensor> copy() const;
  /// Takes over the values of another list of the same order.
  void assign(const std::vector<Tensor>& values) const { assign(tensors, values); }
  static void assign(const std::vector<Tensor>& to, const std::vector<Tensor>& values);
  /// The same of the buffers alone.
  std::vector<Tensor> copy_buffers() const;
  void assign_buffers(const std::vector<Tensor>& values) const;

  /// Entries "PREFIX/name" of a checkpoint.
  void store(const std::string& prefix, const std::vector<Tensor>& values, std::map<std::string, Tensor>& out) const;
  std::vector<Tensor> restore(const std::string& prefix, const std::map<std::string, Tensor>& from) const;
};

/// Throws RequestError where one of them is shorter than float32; `whose` says what they belong to.
void check_trainable(const std::vector<Tensor>& parameters, const std::string& whose);

/// average ← decay average + (1 - decay) values
void move_average(const std::vector<Tensor>& average, const std::vector<Tensor>& values, double decay);

}  // namespace retort
