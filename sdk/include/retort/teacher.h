/// The diffusion model that is distilled.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "retort/condition.h"
#include "retort/parametrisation.h"

namespace retort {

class RETORT_API Teacher {
 public:
  static constexpr const char* kind = "teacher";
  using Interface = Teacher;
  virtual ~Teacher();

  /// Its prediction, in its own parametrisation. x: [B, …]; t: [B] float64, in the process's time.
  virtual Tensor predict(const Tensor& x, const Tensor& t, const Condition& condition) const = 0;

  virtual const Process& process() const = 0;
  virtual Parametrisation parametrisation() const = 0;
  /// The shape of one sample.
  virtual std::vector<int64_t> shape() const = 0;
  /// 0 for an unconditional teacher.
  virtual int64_t classes() const;
  /// Network evaluations per row and `predict` (2 with classifier-free guidance).
  virtual int64_t cost() const;
  /// The weights of classifier-free guidance, least and greatest, where they are given with every row
  /// (`Condition::guidance`); none where the teacher's weight is fixed, or it has none.
  virtual std::optional<std::pair<double, double>> guidance() const;
  /// log p_t(x), [B], where the teacher knows it; undefined otherwise.
  virtual Tensor log_density(const Tensor& x, const Tensor& t) const;
};

}  // namespace retort
