/// Single parts for programs of your own: a solver, a schedule, a loss, by type and keys, without a configuration.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "retort/host.h"
#include "retort/model.h"
#include "retort/schedule.h"
#include "retort/session.h"

namespace retort {

/// Makes parts that fit one process and one form of samples. The session outlives it, and parts outlive both.
///
/// Errors are those of a configuration: a RequestError names the origin of the value, the key, what was expected, and
/// the nearest valid name.
class RETORT_API Toolbox final : public Host {
 public:
  struct Options {
    Value process = {};   // as [process]: { type = "vp_linear", … }; empty: "ve"
    ModelSpec spec = {};  // of samples, and of what a model is given beside them
    Value backend = {};   // as [backend]: where parts keep networks of their own; empty: LibTorch as it is
  };
  Toolbox(const Session& session, Options options);
  ~Toolbox() override;
  Toolbox(const Toolbox&) = delete;
  Toolbox& operator=(const Toolbox&) = delete;

  /// The part that a table with `type` and its keys describes, such as { type = …, steps = 18 }. Every key is
  /// checked.
  template <class T>
  std::shared_ptr<T> build(const Value& table) {
    return std::static_pointer_cast<T>(build(T::kind, table));
  }
  /// The keys of `table`, read by `read`. Every key is checked.
  void read(const std::string& name, const Value& table, const std::function<void(Params&)>& read);
  /// The schedule's times on the process, [N + 1]. Throws RequestError where they do not fall strictly, or begin beyond
  /// its noisiest time.
  Tensor times(const Schedule& schedule, double progress = 0) const;

  // Host
  using Host::make;
  std::shared_ptr<void> make(const char* kind, const std::string& name, Params& params) override;
  const Process& process() const override;
  bool process_given() const override;
  ModelSpec spec() const override;
  const Backend& backend() const override;
  Checkpoint checkpoint(const std::string& path) override;
  std::shared_ptr<Network> network(const Checkpoint& checkpoint, const std::string& path) override;

 private:
  std::shared_ptr<void> build(const char* kind, const Value& table);

  struct State;
  std::unique_ptr<State> state_;
};

/// Samples of what makes them by itself, as `evaluate.student_steps` has them. times: [steps + 1] float64, falling; x:
/// [n, …] noise at the first of them. The noise of row i depends on the seed and i alone. `gamma`: share of the noise
/// that is drawn anew between steps, from 0 to 1; none: 1 for consistency functions, 0 for flow maps.
RETORT_API Tensor sample(const Model& model, const Tensor& times, const Tensor& x, const Conditioning& condition,
                         int64_t seed = 0, std::optional<double> gamma = {});
/// The times of a sampler of that many steps, [steps + 1], among those of a grid.
RETORT_API Tensor times_of_steps(const Tensor& grid, int64_t steps);

}  // namespace retort
