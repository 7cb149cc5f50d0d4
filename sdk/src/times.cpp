#include "retort/times.h"

#include <ATen/ATen.h>

namespace retort {

namespace {
template <class F>
const Tensor& once(Tensor& kept, F compute) {
  if (!kept.defined()) {
    kept = compute();
  }
  return kept;
}
}  // namespace

Times::Times(Process process, Tensor t) : process_(std::move(process)), t_(std::move(t)) {}

const Tensor& Times::alpha() const {
  return once(alpha_, [this] { return process_.alpha(t_); });
}
const Tensor& Times::sigma() const {
  return once(sigma_, [this] { return process_.sigma(t_); });
}
const Tensor& Times::lambda() const {
  return once(lambda_, [this] { return process_.lambda(t_); });
}
const Tensor& Times::noise_level() const {
  return once(noise_level_, [this] { return process_.noise_level(t_); });
}

Times Times::select(const Tensor& index) const { return {process_, t_.index_select(0, index)}; }

}  // namespace retort
