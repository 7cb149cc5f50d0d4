/// An evaluation whose parts are given: two sets of samples, and whatever else a test sets.
#pragma once

#include <algorithm>
#include <map>

#include "io/json.h"
#include "support/support.h"

namespace retort::test {

/// A list of rows of numbers, as fixtures have them.
inline Tensor table(const Json& rows) {
  std::vector<Tensor> out;
  for (const Json& row : rows) {
    out.push_back(times(row.get<std::vector<double>>()));
  }
  return at::stack(out);
}

/// A data set of given rows, the same in both splits unless told otherwise.
class GivenData final : public Dataset {
 public:
  explicit GivenData(Tensor train, Tensor test = {}, Tensor labels = {}, int64_t classes = 0)
      : train_(std::move(train)), test_(std::move(test)), labels_(std::move(labels)), classes_(classes) {}
  std::vector<int64_t> shape() const override { return train_.sizes().slice(1).vec(); }
  int64_t classes() const override { return classes_; }
  int64_t size(Split split) const override { return of(split).size(0); }
  Batch batch(Split split, const Tensor& index) const override {
    Batch out{of(split).index_select(0, index), {}};
    if (labels_.defined()) {
      out.condition.set(inputs::labels, labels_.index_select(0, index));
    }
    return out;
  }

 private:
  const Tensor& of(Split split) const { return split == Split::test && test_.defined() ? test_ : train_; }
  Tensor train_, test_, labels_;
  int64_t classes_;
};

class GivenEvaluation final : public Evaluation {
 public:
  GivenEvaluation(Tensor samples, Tensor reference)
      : samples_(std::move(samples)), reference_(std::move(reference)), start_{samples_, {}}, endpoints_(reference_) {}

  Tensor samples_, reference_;
  Batch start_;
  Tensor endpoints_, grid_;
  const Dataset* dataset_ = nullptr;
  const Model* model_ = nullptr;
  CompiledNetwork* network_ = nullptr;
  const Ode* ode_ = nullptr;
  const Solver* solver_ = nullptr;

  Tensor samples() const override { return samples_; }
  Tensor reference() const override { return reference_; }
  Tensor sample_features() const override { return samples_.flatten(1); }
  Tensor reference_features() const override { return reference_.flatten(1); }
  Tensor features(const Tensor& x) const override { return x.flatten(1); }
  Batch start() const override { return start_; }
  Tensor endpoints() const override { return endpoints_; }
  Batch data(int64_t n) const override { return {reference_.narrow(0, 0, std::min(n, reference_.size(0))), {}}; }
  const Dataset* dataset() const override { return dataset_; }
  const Model* model() const override { return model_; }
  CompiledNetwork* network() const override { return network_; }
  int64_t student_steps() const override { return model_ != nullptr ? 1 : 0; }
  const Ode* ode() const override { return ode_; }
  const Solver* solver() const override { return solver_; }
  Tensor grid() const override { return grid_; }
  at::Generator generator(const char* stream) const override { return seeded(0, stream); }
  Tensor shared(const std::string&, const std::function<Tensor()>& compute) const override { return compute(); }
};

using Values = std::map<std::string, double>;

inline Values measure(const std::string& name, const Evaluation& evaluation, const std::string& toml = "") {
  TestHost host;
  const Measurement m = host.make_plugin<Metric>(name, toml)->measure(evaluation);
  return {m.values.begin(), m.values.end()};
}

/// Of two sets of samples alone.
inline Values measure(const std::string& name, const Tensor& a, const Tensor& b, const std::string& toml = "") {
  return measure(name, GivenEvaluation(a, b), toml);
}

}  // namespace retort::test
