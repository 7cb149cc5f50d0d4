/// What a process is made of: alpha and sigma as functions of one time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "retort/process.h"

namespace retort {

class Curve {
 public:
  /// value: the table that makes the curve again.
  explicit Curve(Value value) : value_(std::move(value)) {}
  virtual ~Curve() = default;

  virtual double alpha(double t) const = 0;
  virtual double sigma(double t) const = 0;
  virtual double d_alpha(double t) const = 0;
  virtual double d_sigma(double t) const = 0;
  virtual double lambda(double t) const = 0;
  /// The inverse of lambda, which is not +inf here.
  virtual double time(double lambda) const = 0;
  virtual double noise_level(double t) const = 0;
  virtual double time_of_noise_level(double level) const;

  virtual double t_max() const { return 1; }
  virtual double least_drift_time() const { return 0; }
  virtual int64_t steps() const { return 0; }
  virtual bool is_variance_exploding() const { return false; }
  /// Whether another curve of the same value is the same one.
  virtual bool is_its_value() const { return true; }

  const Value& value() const { return value_; }

 private:
  Value value_;
};

/// alpha^2 + sigma^2 = 1: all follows from log alpha, which falls at the rate beta / 2.
class VariancePreserving : public Curve {
 public:
  using Curve::Curve;
  double alpha(double t) const override;
  double sigma(double t) const override;
  double d_alpha(double t) const override;
  double d_sigma(double t) const override;
  double lambda(double t) const override;
  double time(double lambda) const override;
  double noise_level(double t) const override;

 protected:
  virtual double log_alpha(double t) const = 0;
  virtual double beta(double t) const = 0;
  virtual double time_of_log_alpha(double log_alpha) const = 0;
};

using CurvePtr = std::shared_ptr<const Curve>;

namespace curves {

CurvePtr variance_exploding();
CurvePtr vp_linear(double beta_min, double beta_max);
CurvePtr vp_scaled_linear(double beta_min, double beta_max);
CurvePtr vp_cosine();
CurvePtr rectified_flow();
CurvePtr trigonometric();
CurvePtr of_functions(Process::Functions functions);

/// Of tables that have been found right. With zero_snr alpha is shifted and scaled to end at 0.
CurvePtr of_betas(Value value, const std::vector<double>& betas, bool zero_snr);
CurvePtr of_alphas_cumprod(const std::vector<double>& table);
/// { type = "betas", trained_betas = [ … ] }
Value value_of_betas(const std::vector<double>& betas);
/// The betas whose roots are evenly spaced.
std::vector<double> scaled_linear_betas(double first, double last, int64_t steps);

/// What is wrong with a table; "" where nothing is.
std::string fault_of_betas(const std::vector<double>& betas);
std::string fault_of_alphas_cumprod(const std::vector<double>& table);

CurvePtr read(Params& p);

}  // namespace curves

}  // namespace retort
