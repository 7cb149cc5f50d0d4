/// The diffusion model that is distilled.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "retort/conditioning.h"
#include "retort/parametrisation.h"

namespace retort {

class RETORT_API Teacher {
 public:
  static constexpr const char* kind = "teacher";
  using Interface = Teacher;
  virtual ~Teacher();

  /// Its prediction, in its own parametrisation. x: [B, …]; t: [B] float64, in the process's time.
  virtual Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& condition) const = 0;

  virtual const Process& process() const = 0;
  virtual Parametrisation parametrisation() const = 0;
  /// The shape of one sample.
  virtual std::vector<int64_t> shape() const = 0;
  /// What it is conditioned on; nothing by default. Guidance weights are not among these.
  virtual std::vector<Input> inputs() const;
  /// The same rows without their conditions, as the teacher knows it: what classifier-free guidance leads away from. By
  /// default every input is its null value (`Input`).
  virtual Conditioning unconditional(const Conditioning& condition) const;
  /// Network evaluations per row and `predict` (2 with classifier-free guidance).
  virtual int64_t cost() const;
  /// The weights of classifier-free guidance, least and greatest, where they are given with every row
  /// (`inputs::guidance`); none where the teacher's weight is fixed, or it has none.
  virtual std::optional<std::pair<double, double>> guidance() const;
  /// log p_t(x), [B], where the teacher knows it; undefined otherwise.
  virtual Tensor log_density(const Tensor& x, const Tensor& t) const;
};

}  // namespace retort
