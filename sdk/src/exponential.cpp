#include "retort/exponential.h"

#include <ATen/ATen.h>

#include <cmath>

#include "retort/error.h"

namespace retort {

namespace {

// The series sum_n z^n / (n + k)!, which converges at once for |z| <= 1.
double series(int k, double z) {
  double term = 1;
  for (int i = 2; i <= k; ++i) {
    term /= i;
  }
  double sum = term;
  for (int n = 1; n < 24; ++n) {
    term *= z / (n + k);
    sum += term;
  }
  return sum;
}

double value(int k, double z) {
  if (k == 0) {
    return std::exp(z);
  }
  if (std::abs(z) <= 1) {
    return series(k, z);
  }
  if (std::isinf(z) && z < 0) {  // every term but the greatest power vanishes, and it too
    return 0;
  }
  double out = std::expm1(z) / z, factorial = 1;
  for (int i = 1; i < k; ++i) {
    factorial *= i;
    out = (out - 1 / factorial) / z;
  }
  return out;
}

}  // namespace

Tensor phi(int k, const Tensor& z) {
  if (k < 0 || k > 8) {
    throw Error("phi_" + std::to_string(k) + " is not defined here; expected 0 to 8");
  }
  const Tensor in = z.to(at::kCPU, at::kDouble).contiguous(), out = at::empty_like(in);
  for (int64_t i = 0; i < in.numel(); ++i) {
    out.mutable_data_ptr<double>()[i] = value(k, in.const_data_ptr<double>()[i]);
  }
  return out;
}

}  // namespace retort
