#include "retort/forward_mode.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/forward_grad.h>

#include <string>

#include "retort/error.h"

namespace retort {

ForwardMode::ForwardMode()
    : flash_(at::globalContext().userEnabledFlashSDP()), level_(torch::autograd::ForwardADLevel::get_next_idx()) {
  at::globalContext().setSDPUseFlash(false);
}

ForwardMode::~ForwardMode() {
  at::globalContext().setSDPUseFlash(flash_);
  torch::autograd::ForwardADLevel::release_idx(level_);
}

Tensor ForwardMode::with(const Tensor& value, const Tensor& tangent) const {
  return at::_make_dual(value, tangent.to(value.options()).contiguous(), static_cast<int64_t>(level_));
}

ForwardMode::Value ForwardMode::of(const std::function<Tensor()>& network, const char* instead) const {
  Tensor dual;
  try {
    dual = network();
  } catch (const RequestError&) {
    throw;
  } catch (const std::exception& e) {  // not every operation has a forward-mode derivative
    const std::string what = e.what();
    throw Error("the network has no forward-mode derivative here (" + what.substr(0, what.find('\n')) + "); " +
                instead);
  }
  const auto [output, derivative] = at::_unpack_dual(dual, static_cast<int64_t>(level_));
  return {output, derivative.defined() ? derivative : at::zeros_like(output)};
}

}  // namespace retort
