/// A way through time that a network lays out in one evaluation, and that is walked without it.
#pragma once

#include "retort/process.h"

namespace retort {

/// Times and states as rectified flow has them at the same noise level, where the ways of all processes are alike:
/// u = sigma / (alpha + sigma) in [0, 1], y = x / (alpha + sigma) = (1 - u) x0 + u n, dy/du = n - x0 = (y - x0) / u.
namespace flow_form {
/// t: [B]. Returns u: [B] float64.
RETORT_API Tensor time(const Process& process, const Tensor& t);
/// The process's time at which u is that; t_max where u is 1.
RETORT_API Tensor time_back(const Process& process, const Tensor& u);
/// y of x: [B, …] at t, and back.
RETORT_API Tensor state(const Process& process, const Tensor& x, const Tensor& t);
RETORT_API Tensor state_back(const Process& process, const Tensor& y, const Tensor& t);
}  // namespace flow_form

/// The policy DX of pi-Flow (Chen et al. 2025, arXiv 2510.14974): clean data at N times that are even in u over a
/// segment, linear in u between them. With N = 1 it is DDIM.
class RETORT_API Policy {
 public:
  /// Of the segment from u = `from` down to u = `to`: [B] float64 each. data: [B, N, …] at times that rise from `to` to
  /// `from`.
  Policy(Tensor from, Tensor to, Tensor data);

  /// Clean data at u: [B]; that of the nearer end outside of the segment. [B, …]
  Tensor data(const Tensor& u) const;
  /// dy/du at y: [B, …] and u: [B]. What it divides by is held at 1e-4 or more, as its authors' code has it.
  Tensor velocity(const Tensor& y, const Tensor& u) const;
  /// Euler's steps in u from y at u = `from` to u = `to`, of which the whole of [0, 1] would take `substeps`; one at
  /// least. The state at `to`.
  Tensor walk(const Tensor& y, const Tensor& from, const Tensor& to, int64_t substeps = 128) const;

  /// The same, through which no gradient flows.
  Policy detach() const { return {from_, to_, data_.detach()}; }

 private:
  Tensor from_, to_, data_;
};

/// The index on a grid of so many intervals at which the k-th of `parts` parts begins, of about equal length: round(k
/// intervals / parts), as latent consistency models space them.
RETORT_API int64_t part_of_grid(int64_t k, int64_t intervals, int64_t parts);

}  // namespace retort
