/// The times at which denoisers are trained.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <string>

#include "../shared/flow_shift.h"
#include "../shared/quantile.h"

namespace retort {

/// States x: [B, …] at times t: [B], noised further to the times s, by as much of `noise` as is missing there.
inline Tensor noised_further(const Process& process, const Tensor& x, const Tensor& noise, const Tensor& t,
                             const Tensor& s) {
  const Tensor scale = process.alpha(s) / process.alpha(t);
  const Tensor missing = (process.sigma(s).square() - (scale * process.sigma(t)).square()).clamp_min(0).sqrt();
  return rows(scale, x) * x + rows(missing, x) * noise;
}

/// Densities of the noise level s = sigma / alpha, or of the time as a fraction u of the process's noisiest:
///
/// lognormal           log s is normal (Karras et al. 2022, table 1). On a rectified flow t is logit-normal
/// log_student_t       log s is Student's t, between two ends (Lee et al. 2024, arXiv 2410.14895)
/// log_uniform         log s is uniform, between two ends
/// karras              s^(1 / rho) is uniform, between two ends: a place of the grid (Karras et al. 2022, eq. 5)
/// v_diffusion         arctan(s / sigma_data) is uniform, between two ends (Salimans & Ho 2022)
/// cosine_interpolated between two such, shifted for sizes of pictures (Hoogeboom et al. 2023, arXiv 2301.11093)
/// uniform             u is uniform (Ho et al. 2020; Lipman et al. 2023)
/// logit_normal        logit(u) is normal (Esser et al. 2024, eq. 19)
///
/// The process's noisiest time stands for levels beyond its own.
class NoiseTimes {
 public:
  /// From the key `times` and those of its density; mean and std are what a method's paper has for "lognormal".
  explicit NoiseTimes(Params& p, double mean = -1.2, double std = 1.2)
      : density_(p.choice("times", "lognormal",
                          {"lognormal", "uniform", "logit_normal", "log_student_t", "log_uniform", "karras",
                           "v_diffusion", "cosine_interpolated"},
                          "how noise is drawn: log sigma normal (EDM), t uniform (DDPM, flow matching), logit(t) "
                          "normal, log sigma Student's t or uniform, or as cosine schedules have it")),
        mean_(p.get("log_sigma_mean", mean, "times = \"lognormal\": mean of log(sigma / alpha)")),
        std_(p.get("log_sigma_std", std, "times = \"lognormal\": its standard deviation", more_than(0))),
        t_min_(p.get("t_min", 1e-3, "times = \"uniform\": least time, as a fraction of the noisiest", between(0, 1))),
        stratified_(p.get("stratified", false,
                          "row i of B has a place of its own in the density, between i / B and (i + 1) / B")) {
    const auto any_of = [&](auto... names) { return p.is_describing() || ((density_ == names) || ...); };
    if (any_of("uniform")) {
      t_max_ = p.get("t_max", t_max_, "times = \"uniform\": greatest time, as a fraction of the noisiest",
                     {.low = 0, .high = 1, .low_open = true});
      if (t_min_ > t_max_) {
        throw p.error("t_min", "is above t_max; expected t_min <= t_max");
      }
    }
    if (any_of("uniform", "logit_normal")) {
      shift_ = p.get("shift", shift_,
                     "times = \"uniform\", \"logit_normal\": s of s t / (1 + (s - 1) t), towards noise", more_than(0));
    }
    if (any_of("logit_normal")) {
      logit_mean_ = p.get("logit_mean", logit_mean_, "times = \"logit_normal\": mean of logit(t)");
      logit_std_ = p.get("logit_std", logit_std_, "times = \"logit_normal\": its standard deviation", more_than(0));
    }
    if (any_of("log_student_t")) {
      freedom_ = p.get("freedom", freedom_,
                       "times = \"log_student_t\": degrees of freedom; log_sigma_mean and log_sigma_std scale it",
                       more_than(0));
    }
    if (any_of("karras")) {
      rho_ = p.get("rho", rho_, "times = \"karras\": exponent; higher values put more levels near sigma_min",
                   more_than(0));
    }
    if (any_of("log_student_t", "log_uniform", "karras", "v_diffusion", "cosine_interpolated")) {
      sigma_min_ = p.get("sigma_min", sigma_min_, "the other times: least noise level", more_than(0));
      sigma_max_ = p.get("sigma_max", sigma_max_, "the other times: greatest noise level", more_than(0));
      if (sigma_min_ >= sigma_max_) {
        throw p.error("sigma_min", "is not below sigma_max; expected sigma_min < sigma_max");
      }
    }
    if (any_of("v_diffusion", "cosine_interpolated")) {
      sigma_data_ = p.get("sigma_data", sigma_data_, "times of a cosine: standard deviation of the data", more_than(0));
    }
    if (any_of("cosine_interpolated")) {
      image_d_ = p.get("image_d", image_d_, "times = \"cosine_interpolated\": width of a picture", more_than(0));
      noise_d_low_ = p.get("noise_d_low", noise_d_low_, "its width where there is much noise", more_than(0));
      noise_d_high_ = p.get("noise_d_high", noise_d_high_, "its width where there is little noise", more_than(0));
    }
  }

  /// [B] float64.
  Tensor draw(const TrainingStep& step) const {
    return times(
        step.process, [&] { return uniform(step); }, [&] { return normal(step); });
  }

  /// Where the shares u: [n], 0 to 1, of the density lie on one side: uniform u have times of the density.
  Tensor quantiles(const Process& process, const Tensor& u) const {
    return times(
        process, [&] { return u; }, [&] { return at::special_ndtri(inside(u)); });
  }

  /// [B] float64 in [0, 1), as `draw` takes them: in strata where these are asked for.
  Tensor uniform(const TrainingStep& step) const {
    const Tensor u = step.uniform();
    if (!stratified_) {
      return u;
    }
    const Tensor row = at::arange(step.first_row, step.first_row + u.size(0), at::kDouble);
    return (row + u) / static_cast<double>(step.whole_rows());
  }

 private:
  template <class Uniform, class Normal>
  Tensor times(const Process& process, Uniform uniform, Normal normal) const {
    if (density_ == "uniform") {
      return shifted(t_min_ + (t_max_ - t_min_) * uniform(), shift_) * process.t_max();
    }
    if (density_ == "logit_normal") {
      return shifted((normal() * logit_std_ + logit_mean_).sigmoid(), shift_) * process.t_max();
    }
    return process.time_of_noise_level(density_ == "lognormal" ? (normal() * std_ + mean_).exp() : level(uniform()));
  }

  Tensor level(const Tensor& u) const {
    if (density_ == "log_student_t") {
      return log_student_t(u);
    }
    if (density_ == "log_uniform") {
      return lerp(std::log(sigma_min_), std::log(sigma_max_), u).exp();
    }
    if (density_ == "karras") {
      return lerp(std::pow(sigma_min_, 1 / rho_), std::pow(sigma_max_, 1 / rho_), u).pow(rho_);
    }
    if (density_ == "v_diffusion") {
      return cosine(u, 1);
    }
    return lerp(cosine(u, noise_d_high_ / image_d_).log(), cosine(u, noise_d_low_ / image_d_).log(), u).exp();
  }

  // alpha = cos(pi t / 2), sigma = sin(pi t / 2) in units of sigma_data, with levels divided by `narrower`; between the
  // ends of the range.
  Tensor cosine(const Tensor& u, double narrower) const {
    const double unit = sigma_data_ / narrower;
    return unit * lerp(std::atan(sigma_min_ / unit), std::atan(sigma_max_ / unit), u).tan();
  }

  Tensor log_student_t(const Tensor& u) const {
    const auto mass = [&](double sigma) { return student_t_cdf((std::log(sigma) - mean_) / std_, freedom_); };
    Tensor out = inside(lerp(mass(sigma_min_), mass(sigma_max_), u)).contiguous();
    for (double *x = out.data_ptr<double>(), *end = x + out.numel(); x != end; ++x) {
      *x = std::exp(mean_ + std_ * student_t_quantile(*x, freedom_));
    }
    return out;
  }

  static Tensor lerp(double low, double high, const Tensor& u) { return low + (high - low) * u; }
  static Tensor lerp(const Tensor& low, const Tensor& high, const Tensor& u) { return low + (high - low) * u; }
  // Within 0 and 1, where quantiles are finite.
  static Tensor inside(const Tensor& u) { return u.clamp(0x1p-54, 1 - 0x1p-53); }

  Tensor normal(const TrainingStep& step) const {
    return stratified_ ? at::special_ndtri(inside(uniform(step))) : step.normal();
  }

  std::string density_;
  double mean_, std_, t_min_;
  bool stratified_;
  double t_max_ = 1, shift_ = 1, logit_mean_ = 0, logit_std_ = 1, freedom_ = 0.01;
  double sigma_min_ = 0.002, sigma_max_ = 80, rho_ = 7, sigma_data_ = 1;
  double image_d_ = 64, noise_d_low_ = 32, noise_d_high_ = 64;
};

}  // namespace retort
