#include "retort/ode.h"

#include <ATen/ATen.h>

#include "retort/fused.h"

namespace retort {

Ode::Ode(const Teacher& teacher, Conditioning condition)
    : teacher_(&teacher),
      condition_(std::move(condition)),
      count_(std::make_shared<std::atomic<int64_t>>(0)),
      remembered_(std::make_shared<std::atomic<int64_t>>(0)) {}

const Process& Ode::process() const { return teacher_->process(); }

Tensor Ode::output(const Tensor& x, const Tensor& t) const {
  const at::NoGradGuard no_grad;
  *count_ += x.size(0) * teacher_->cost();
  return teacher_->predict(x, t, condition_);
}

Tensor Ode::data(const Tensor& x, const Tensor& t) const {
  return teacher_->parametrisation().to_data(process(), t)(x, output(x, t));
}

Tensor Ode::noise(const Tensor& x, const Tensor& t) const {
  return teacher_->parametrisation().to_noise(process(), t)(x, output(x, t));
}

Ode::Prediction Ode::predict(const Tensor& x, const Tensor& t) const {
  const Tensor out = output(x, t);
  const Parametrisation form = teacher_->parametrisation();
  return {form.to_data(process(), t)(x, out), form.to_noise(process(), t)(x, out)};
}

Tensor Ode::velocity(const Tensor& x, const Tensor& t) const {
  const Prediction p = predict(x, t);
  return combine({{process().d_alpha(t), p.data}, {process().d_sigma(t), p.noise}});
}

Ode Ode::rows(const Tensor& index) const { return with(condition_.select(index)); }
Ode Ode::first(int64_t count) const { return with(condition_.first(count)); }

Ode Ode::with(Conditioning condition) const {
  Ode other = *this;
  other.condition_ = std::move(condition);
  return other;
}

Ode Ode::with(std::shared_ptr<SolveMemory> memory, const Solver* solver) const {
  Ode other = *this;
  other.memory_ = std::move(memory);
  other.solver_ = solver;
  return other;
}

void Ode::count_remembered(int64_t evaluations) const {
  *count_ += evaluations;
  *remembered_ += evaluations;
}

}  // namespace retort
