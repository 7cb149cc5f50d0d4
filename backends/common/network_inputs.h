/// What a network is called with, as a list: x, the noise label, and the conditions in the order of their names.
#pragma once

#include <retort/network.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace retort {

struct NetworkInputs {
  Tensor x, c_noise;
  Conditioning condition;

  /// Those that are given.
  std::vector<Tensor> tensors() const {
    std::vector<Tensor> out = {x};
    if (c_noise.defined()) {
      out.push_back(c_noise);
    }
    for (const auto& [name, rows] : condition) {
      out.push_back(rows);
    }
    return out;
  }

  /// The same inputs as other tensors, in the order of `tensors`.
  NetworkInputs with(const std::vector<Tensor>& tensors) const {
    size_t next = 0;
    NetworkInputs out;
    out.x = tensors[next++];
    if (c_noise.defined()) {
      out.c_noise = tensors[next++];
    }
    for (const auto& [name, rows] : condition) {
      out.condition.set(name, tensors[next++]);
    }
    return out;
  }

  template <class F>
  NetworkInputs map(F f) const {
    std::vector<Tensor> out;
    for (const Tensor& t : tensors()) {
      out.push_back(f(t));
    }
    return with(out);
  }

  NetworkInputs rows(int64_t begin, int64_t count) const {
    return map([&](const Tensor& t) { return t.narrow(0, begin, count); });
  }

  /// Whether a derivative is carried along in forward mode, which kernels know nothing of.
  bool carries_tangents() const {
    const std::vector<Tensor> all = tensors();
    return std::any_of(all.begin(), all.end(), [](const Tensor& t) { return t._fw_grad(0).defined(); });
  }

  Tensor forward(Network& network) const { return network.forward(x, c_noise, condition); }

  /// Equal for inputs that one trace serves: the same names, sizes and types.
  using Signature = std::vector<std::tuple<std::string, at::ScalarType, std::vector<int64_t>>>;
  Signature signature() const {
    Signature out = {{"x", x.scalar_type(), x.sizes().vec()}};
    if (c_noise.defined()) {
      out.emplace_back("c_noise", c_noise.scalar_type(), c_noise.sizes().vec());
    }
    for (const auto& [name, rows] : condition) {
      out.emplace_back(name, rows.scalar_type(), rows.sizes().vec());
    }
    return out;
  }
};

}  // namespace retort
