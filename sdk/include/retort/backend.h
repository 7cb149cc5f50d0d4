/// Where and how precisely networks are evaluated.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <memory>

#include "retort/network.h"
#include "retort/params.h"

namespace retort {

class RETORT_API Backend {
 public:
  static constexpr const char* kind = "backend";
  using Interface = Backend;
  virtual ~Backend();

  /// Sets what belongs to the whole process: threads, determinism. The host calls it once, before any work; a backend
  /// that is only built changes nothing. Nothing by default.
  virtual void prepare() const;

  virtual c10::Device device() const = 0;
  /// The type of samples, states and parameters (float32 or float64; lower precision is for evaluation only).
  virtual c10::ScalarType dtype() const = 0;
  /// Moves a network's weights to the device, dtype and memory layout of the backend.
  virtual void place(Network& network) const = 0;
  /// The network for training: differentiable, weights read at every call.
  virtual std::shared_ptr<CompiledNetwork> trainable(std::shared_ptr<Network> network) const = 0;
  /// The network frozen: no gradients; may be compiled. `CompiledNetwork::refresh` follows a change of weights.
  virtual std::shared_ptr<CompiledNetwork> compile(std::shared_ptr<Network> network) const = 0;
  /// The greatest error of a network's output that this backend promises: RMS difference from the same weights in
  /// float64 on the CPU, over the RMS of that. By default 1e-4 in float32 and 1e-10 in float64.
  virtual double tolerance() const;
  /// The factor by which the loss is multiplied at first, so that gradients in float16 do not vanish; 1: no scaling.
  virtual double loss_scale() const;
  /// "cpu, 2 threads, float32": for logs and reports.
  virtual std::string describe() const = 0;
};

/// Moves a network's weights and buffers to a device, floating-point ones to a type, and the weights of convolutions to
/// channels-last memory where that is asked for: what `Backend::place` is made of. Tensors that shared memory share it
/// afterwards, so that the network which is trained is the one that was given.
RETORT_API void move_weights(Network& network, c10::Device device, c10::ScalarType dtype, bool channels_last);

}  // namespace retort
