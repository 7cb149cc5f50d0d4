// The curves that have a formula.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "curve.h"

namespace retort {

double Curve::time_of_noise_level(double level) const { return level == 0 ? 0.0 : time(-std::log(level)); }

double VariancePreserving::alpha(double t) const { return std::exp(log_alpha(t)); }

double VariancePreserving::sigma(double t) const { return std::sqrt(std::max(0.0, -std::expm1(2 * log_alpha(t)))); }

double VariancePreserving::d_alpha(double t) const { return -0.5 * beta(t) * std::exp(log_alpha(t)); }

double VariancePreserving::d_sigma(double t) const { return 0.5 * beta(t) * std::exp(2 * log_alpha(t)) / sigma(t); }

double VariancePreserving::lambda(double t) const { return log_alpha(t) - std::log(sigma(t)); }

double VariancePreserving::noise_level(double t) const { return sigma(t) * std::exp(-log_alpha(t)); }

double VariancePreserving::time(double lambda) const {
  const double level = std::exp(-lambda);
  // log alpha = -log1p(level^2) / 2, written so that the square of a large level does not overflow
  return time_of_log_alpha(level > 1 ? -std::log(level) - 0.5 * std::log1p(1 / (level * level))
                                     : -0.5 * std::log1p(level * level));
}

namespace {

constexpr double cosine_offset = 0.008;  // Nichol & Dhariwal 2021, eq. 17
constexpr double cosine_end = 0.9946;    // where alpha is still well above 0, as DPM-Solver stops it (Lu et al. 2022)
constexpr double customary_cut = 1e-5;   // sigma' grows without bound towards t = 0 (Song et al. 2021, appendix C)

Value named(const char* type) {
  Value out;
  out["type"] = Value{std::string(type), {}};
  return out;
}

class VarianceExploding final : public Curve {
 public:
  VarianceExploding() : Curve(named("ve")) {}
  double alpha(double) const override { return 1; }
  double sigma(double t) const override { return t; }
  double d_alpha(double) const override { return 0; }
  double d_sigma(double) const override { return 1; }
  double lambda(double t) const override { return 0 - std::log(t); }
  double time(double lambda) const override { return std::exp(-lambda); }
  double noise_level(double t) const override { return t; }
  double time_of_noise_level(double level) const override { return level; }
  double t_max() const override { return 80; }
  bool is_variance_exploding() const override { return true; }
};

class RectifiedFlow final : public Curve {
 public:
  RectifiedFlow() : Curve(named("rectified_flow")) {}
  double alpha(double t) const override { return 1 - t; }
  double sigma(double t) const override { return t; }
  double d_alpha(double) const override { return -1; }
  double d_sigma(double) const override { return 1; }
  double lambda(double t) const override { return std::log1p(-t) - std::log(t); }
  double time(double lambda) const override {
    const double level = std::exp(-lambda);
    return std::isinf(level) ? 1.0 : level / (1 + level);
  }
  double noise_level(double t) const override { return t / (1 - t); }
};

class Trigonometric final : public Curve {
 public:
  Trigonometric() : Curve(named("trigonometric")) {}
  // Not as the cosine, which is 6e-17 at the floating-point number nearest to pi / 2: the last alpha is 0.
  double alpha(double t) const override { return std::sin(std::max(0.0, end - t)); }
  double sigma(double t) const override { return std::sin(t); }
  double d_alpha(double t) const override { return -sigma(t); }
  double d_sigma(double t) const override { return alpha(t); }
  double lambda(double t) const override { return std::log(alpha(t)) - std::log(sigma(t)); }
  double time(double lambda) const override { return std::atan(std::exp(-lambda)); }
  double noise_level(double t) const override { return sigma(t) / alpha(t); }
  double time_of_noise_level(double level) const override { return std::atan(level); }
  double t_max() const override { return end; }

 private:
  static constexpr double end = std::numbers::pi / 2;
};

class LinearBeta final : public VariancePreserving {
 public:
  LinearBeta(Value value, double beta_min, double beta_max)
      : VariancePreserving(std::move(value)), beta_min_(beta_min), beta_max_(beta_max) {}
  double least_drift_time() const override { return customary_cut; }

 protected:
  double log_alpha(double t) const override { return -0.25 * t * t * (beta_max_ - beta_min_) - 0.5 * t * beta_min_; }
  double beta(double t) const override { return beta_min_ + t * (beta_max_ - beta_min_); }
  double time_of_log_alpha(double log_alpha) const override {
    const double delta = beta_max_ - beta_min_;
    const double l = -2 * log_alpha;
    return 2 * l / (std::sqrt(beta_min_ * beta_min_ + 2 * delta * l) + beta_min_);
  }

 private:
  double beta_min_, beta_max_;
};

class Cosine final : public VariancePreserving {
 public:
  Cosine() : VariancePreserving(named("vp_cosine")) {}
  double t_max() const override { return cosine_end; }
  double least_drift_time() const override { return customary_cut; }

 protected:
  double log_alpha(double t) const override { return std::log(std::cos(angle(t)) / std::cos(angle(0))); }
  double beta(double t) const override { return std::numbers::pi / (1 + cosine_offset) * std::tan(angle(t)); }
  double time_of_log_alpha(double log_alpha) const override {
    const double a = std::acos(std::exp(log_alpha) * std::cos(angle(0)));
    return a * 2 / std::numbers::pi * (1 + cosine_offset) - cosine_offset;
  }

 private:
  static double angle(double t) { return (t + cosine_offset) / (1 + cosine_offset) * std::numbers::pi / 2; }
};

}  // namespace

namespace curves {

CurvePtr variance_exploding() {
  static const CurvePtr one = std::make_shared<VarianceExploding>();  // what every process without a table is
  return one;
}

CurvePtr vp_linear(double beta_min, double beta_max) {
  Value value = named("vp_linear");
  value["beta_min"] = Value{beta_min, {}};
  value["beta_max"] = Value{beta_max, {}};
  return std::make_shared<LinearBeta>(std::move(value), beta_min, beta_max);
}

CurvePtr vp_cosine() { return std::make_shared<Cosine>(); }
CurvePtr rectified_flow() { return std::make_shared<RectifiedFlow>(); }
CurvePtr trigonometric() { return std::make_shared<Trigonometric>(); }

}  // namespace curves

}  // namespace retort
