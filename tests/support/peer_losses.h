/// What the tests share that hold losses against their peers' numbers (tests/parity).
#pragma once

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "io/json.h"
#include "support/parity.h"
#include "support/support.h"
#include "support/tiny_network.h"

namespace retort::test {

/// A file of tests/parity.
inline Json parity_file(const std::string& name) {
  std::ifstream in(source_dir() + "/tests/parity/" + name);
  return Json::parse(in);
}

inline Tensor tensor_of(const Json& json) {
  if (json[0].is_array()) {
    std::vector<Tensor> rows;
    for (const Json& row : json) {
      rows.push_back(tensor_of(row));
    }
    return at::stack(rows);
  }
  return at::tensor(json.get<std::vector<double>>(), at::kDouble);
}

/// As TOML spells it.
inline std::string number(const Json& json) { return Value{json.get<double>(), {}}.text(); }

/// The tiny network with these weights by name.
inline std::shared_ptr<TinyNetwork> network_of(const Json& weights) {
  TinyWeights out;
  for (const auto& [name, values] : weights.items()) {
    out.at[name] = tensor_of(values);
  }
  return std::make_shared<TinyNetwork>(out);
}

/// A teacher that says the velocities that it was given, whatever it is asked.
class GivenVelocity final : public Teacher {
 public:
  GivenVelocity(Process process, Tensor velocity) : process_(std::move(process)), velocity_(std::move(velocity)) {}
  Tensor predict(const Tensor&, const Tensor&, const Conditioning&) const override { return velocity_; }
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return {Predicts::flow, 1}; }
  std::vector<int64_t> shape() const override { return {velocity_.size(1)}; }

 private:
  Process process_;
  Tensor velocity_;
};

}  // namespace retort::test
