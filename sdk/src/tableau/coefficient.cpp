#include <ATen/ATen.h>

#include <algorithm>

#include "retort/error.h"
#include "retort/exponential.h"
#include "retort/tableau.h"

namespace retort {

Coefficient Coefficient::phi(int k, double c) {
  if (k < 0 || k > 8) {
    throw Error("phi" + std::to_string(k) + " is not known; expected phi0 to phi8");
  }
  Coefficient out;
  out.terms_.push_back({1, k, c});
  return out;
}

double Coefficient::number() const {
  if (!is_number()) {
    throw Error("a coefficient that depends on phi functions stands where a number is expected");
  }
  return number_;
}

Tensor Coefficient::at(const Tensor& z) const {
  Tensor out = at::full_like(z, number_);
  for (const Term& term : terms_) {
    out.add_(retort::phi(term.k, term.c * z), term.factor);
  }
  return out;
}

double Coefficient::series(int n) const {
  double sum = n == 0 ? number_ : 0;
  for (const Term& term : terms_) {  // phi_k(c z) = sum_n (c z)^n / (n + k)!
    double value = term.factor;
    for (int i = 1; i <= n + term.k; ++i) {
      value /= i;
    }
    for (int i = 0; i < n; ++i) {
      value *= term.c;
    }
    sum += value;
  }
  return sum;
}

Coefficient operator+(const Coefficient& a, const Coefficient& b) {
  Coefficient out = a;
  out.number_ += b.number_;
  for (const Coefficient::Term& term : b.terms_) {
    const auto same = std::find_if(out.terms_.begin(), out.terms_.end(), [&](const Coefficient::Term& other) {
      return other.k == term.k && other.c == term.c;
    });
    if (same == out.terms_.end()) {
      out.terms_.push_back(term);
    } else if ((same->factor += term.factor) == 0) {
      out.terms_.erase(same);
    }
  }
  return out;
}

Coefficient operator*(const Coefficient& a, const Coefficient& b) {
  if (!a.is_number() && !b.is_number()) {
    throw Error("a product of two phi functions is not a coefficient here; expected sums of number * phi");
  }
  const double factor = a.is_number() ? a.number_ : b.number_;
  Coefficient out = a.is_number() ? b : a;
  out.number_ *= factor;
  for (Coefficient::Term& term : out.terms_) {
    term.factor *= factor;
  }
  return factor == 0 ? Coefficient() : out;
}

Coefficient operator-(const Coefficient& a, const Coefficient& b) { return a + Coefficient(-1) * b; }

Coefficient operator/(const Coefficient& a, const Coefficient& b) {
  if (!b.is_number()) {
    throw Error("a division by a phi function is not a coefficient here");
  }
  if (b.number_ == 0) {
    throw Error("a division by zero");
  }
  if (a.is_number()) {  // the quotient of two numbers is rounded once
    return a.number_ / b.number_;
  }
  return a * Coefficient(1 / b.number_);
}

}  // namespace retort
