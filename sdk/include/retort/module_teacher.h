/// A diffusion model of elsewhere as a teacher: what a plugin shares that asks a module, of a file or of Python.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "retort/host.h"
#include "retort/teacher.h"

namespace retort {

/// What a module takes for a sample and for a time, from the keys `input` and `time`.
class RETORT_API ModuleInput {
 public:
  explicit ModuleInput(Params& p);

  /// Whether it counts the steps of a table, 0 to T - 1.
  bool counts_steps() const { return time_ == "step"; }
  /// Throws RequestError, about a key of `p`, where the process has no such times.
  void check(const Process& process, const Params& p) const;
  /// The factor of x, [B]; undefined for x itself. t: [B] float64.
  Tensor factor(const Process& process, const Parametrisation& form, const Tensor& t) const;
  /// What the module is told of the time, [B].
  Tensor time(const Process& process, const Parametrisation& form, const Tensor& t) const;

 private:
  std::string input_, time_;
};

/// Reads the keys `parametrisation`, `input`, `time`, `guidance`, `shape`, `guidance_range` and `classes`, and joins
/// what the module answers. Its process is the host's. With guidance w other than 1 the module is asked with and
/// without its conditions, in one batch, and the answers are joined as u + w (c - u); one that is given w among its
/// inputs is asked once.
class RETORT_API ModuleTeacher : public Teacher {
 public:
  const Process& process() const override { return process_; }
  Parametrisation parametrisation() const override { return form_; }
  std::vector<int64_t> shape() const override { return shape_; }
  std::vector<Input> inputs() const override { return inputs_; }
  int64_t cost() const override { return asks_twice() ? 2 : 1; }
  std::optional<std::pair<double, double>> guidance() const override { return range_; }
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const override;

 protected:
  explicit ModuleTeacher(Params& p);

  /// What the module can be given besides x and its time: labels, the data's other inputs, and a guidance weight.
  std::vector<Input> known_inputs(const Params& p) const;
  /// Of those, the ones that it takes. `name` is what an error calls the module.
  void takes(std::vector<Input> inputs, const std::string& name, const Params& p);
  /// The module's answer, [B, …], in x's type. x: [B, …] and time: [B] as the module takes them.
  virtual Tensor ask(const Tensor& x, const Tensor& time, const Conditioning& given) const = 0;

  /// Conditions of two rows, for a trial.
  Conditioning example(c10::Device device) const;
  /// What the module is given of the conditions; labels that are not given mean "no class".
  Conditioning whole(const Conditioning& condition, const Tensor& x) const;
  /// `ask` at times t: [B] of the process.
  Tensor ask_at(const Tensor& x, const Tensor& t, const Conditioning& given) const;

 private:
  bool asks_twice() const { return !takes_guidance_ && (range_ || (guidance_ != 1 && guidance_ != 0)); }

  Parametrisation form_;
  ModuleInput input_;
  double guidance_;
  std::vector<int64_t> shape_;
  std::optional<std::pair<double, double>> range_;
  int64_t classes_;
  std::vector<Input> inputs_;
  Process process_;
  bool takes_guidance_ = false;
};

}  // namespace retort
