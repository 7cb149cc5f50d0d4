/// A single step of DPM-Solver: exponential integrators in log-SNR, of the noise or of the data prediction.
///
/// With lambda = log(alpha / sigma), h = lambda_s - lambda_t and F_r the prediction at lambda_t + r h, the state at r
/// is
///   noise   u_r = alpha_r / alpha_t x - sigma_r r h (phi_1 eps_0 + c phi_2 (eps_q - eps_0)), phi_k at r h
///   data    u_r = sigma_r / sigma_t x + alpha_r r h (phi_1 D_0 + c phi_2 (D_q - D_0)), phi_k at -r h
/// for some q before it, c = r / q. Order 2 ends by F_{r1}, and has phi_1 / 2 in the place of phi_2; order 3 makes
/// F_{r2} from F_{r1}, and ends by F_{r2}. It needs alpha_t > 0 and sigma_s > 0.
/// Source: Lu et al. 2022 (arXiv 2206.00927), algorithms 1 and 2; (arXiv 2211.01095), algorithm 1; the code of both.
#pragma once

#include <retort/exponential.h>
#include <retort/fused.h>
#include <retort/plugin.h>
#include <retort/solver.h>

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <string>

namespace retort {

/// Steps of several orders over the same way, which share what they evaluate.
class DpmStep {
 public:
  enum class Prediction { noise, data };

  DpmStep(Prediction prediction, const Ode& ode, const Times& from, const Times& to, const Tensor& x)
      : is_data_(prediction == Prediction::data),
        ode_(ode),
        from_(from),
        to_(to),
        x_(x),
        h_(to.lambda() - from.lambda()),
        now_(predict(x, from)) {}

  Tensor first() const { return along(to_, h_, {}, {}); }

  Tensor second(double r1) {
    const Tensor z = is_data_ ? -h_ : h_;
    return along(to_, h_, at(r1), phi(1, z) / (2 * r1));
  }

  Tensor third(double r1, double r2) {
    if (!later_.contains(r2)) {
      const Times inner = between(r2);
      later_[r2] = predict(along(inner, r2 * h_, at(r1), second_phi(r2 * h_) * (r2 / r1)), inner);
    }
    return along(to_, h_, later_.at(r2), second_phi(h_) / r2);
  }

  /// The number of an inner time, between 0 and 1 as a part of the step.
  static double read_part(Params& p, const char* key, double part) {
    return p.get(key, part, "where an inner evaluation is made, as a part of the step in log-SNR",
                 {.low = 0, .high = 1, .low_open = true});
  }
  static void check_parts(Params& p, double r1, double r2) {
    if (r1 >= r2) {
      throw p.error("r2", "is not more than r1; expected r1 < r2");
    }
  }
  /// Of the steps with two inner evaluations: the last alone enters with the first, which is Radau's rule at 2/3.
  static int order_of(double r2) { return std::abs(r2 - 2.0 / 3) < 1e-6 ? 3 : 2; }

 private:
  Tensor predict(const Tensor& x, const Times& at) const {
    return is_data_ ? ode_.data(x, at.t()) : ode_.noise(x, at.t());
  }
  Times between(double r) const { return Times(ode_.process(), ode_.process().time(from_.lambda() + r * h_)); }
  Tensor second_phi(const Tensor& rh) const { return phi(2, is_data_ ? -rh : rh); }

  // The prediction at r, at the state that order 1 reaches.
  const Tensor& at(double r) {
    if (!later_.contains(r)) {
      const Times inner = between(r);
      later_[r] = predict(along(inner, r * h_, {}, {}), inner);
    }
    return later_.at(r);
  }

  // The state at `to`, rh further: with the prediction now, and `weight` of the difference of a later one.
  Tensor along(const Times& to, const Tensor& rh, const Tensor& later, const Tensor& weight) const {
    const Tensor scale = is_data_ ? to.alpha() * rh : -to.sigma() * rh;
    const Tensor ratio = is_data_ ? to.sigma() / from_.sigma() : to.alpha() / from_.alpha();
    const Tensor first = phi(1, is_data_ ? -rh : rh);
    if (!later.defined()) {
      return combine({{ratio, x_}, {scale * first, now_}});
    }
    return combine({{ratio, x_}, {scale * (first - weight), now_}, {scale * weight, later}});
  }

  bool is_data_;
  const Ode& ode_;
  Times from_, to_;
  Tensor x_, h_, now_;
  std::map<double, Tensor> later_;  // the predictions at parts of the step
};

}  // namespace retort
