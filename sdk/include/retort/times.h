/// Times of a batch together with what formulas need of them.
#pragma once

#include "retort/process.h"

namespace retort {

/// t: [B] float64 on the CPU, and alpha, sigma, lambda and the noise level there, each computed once.
class RETORT_API Times {
 public:
  Times(Process process, Tensor t);

  const Process& process() const { return process_; }
  const Tensor& t() const { return t_; }
  const Tensor& alpha() const;
  const Tensor& sigma() const;
  /// log(alpha / sigma), half the log-SNR.
  const Tensor& lambda() const;
  /// sigma / alpha, the sigma of EDM's papers and code.
  const Tensor& noise_level() const;

  /// Those of some rows. index: [b] int64.
  Times select(const Tensor& index) const;

 private:
  Process process_;
  Tensor t_;
  mutable Tensor alpha_, sigma_, lambda_, noise_level_;  // undefined until asked for
};

}  // namespace retort
