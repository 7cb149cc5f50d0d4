/// How much a row counts, by its noise level: one key of all losses that compare two ends of a way.
#pragma once

#include <retort/loss.h>

#include <ATen/ATen.h>

#include <string>

namespace retort {

/// With s = sigma / alpha at the row's time, and s' where its target is evaluated:
///
/// none           1
/// interval       1 / (s - s') (Song & Dhariwal 2023, section 3.4)
/// snr            1 / s^2
/// snr_plus_one   1 / s^2 + 1 (Salimans & Ho 2022)
/// truncated_snr  max(1 / s^2, 1) (the same)
/// karras         1 / s^2 + 1 / sigma_data^2, which is 1 / c_out^2 (Karras et al. 2022, table 1)
/// c_out          1 / c_out, its root (Geng et al. 2024, arXiv 2406.14548)
class Weighting {
 public:
  /// From the key `weighting`.
  explicit Weighting(Params& p, const std::string& fallback = "none")
      : name_(p.choice("weighting", fallback,
                       {"none", "interval", "snr", "snr_plus_one", "truncated_snr", "karras", "c_out"},
                       "of a row at noise level s: none: 1; interval: 1 / (s - s'), s' that of its target; snr: 1 / "
                       "s^2; snr_plus_one: 1 / s^2 + 1; truncated_snr: max(1 / s^2, 1); karras: 1 / s^2 + 1 / "
                       "sigma_data^2; c_out: the root of that")) {}

  /// per_row: [B], of the student at times t: [B] with a target at times s: [B].
  Tensor operator()(const Tensor& per_row, const Model& student, const Tensor& t, const Tensor& s) const {
    if (name_ == "none") {
      return per_row;
    }
    const Tensor level = student.process().noise_level(t);
    if (name_ == "interval") {
      return per_row / (level - student.process().noise_level(s)).to(per_row.options());
    }
    return per_row * of(1 / level.square(), student.parametrisation().sigma_data).to(per_row.options());
  }

 private:
  Tensor of(const Tensor& snr, double sigma_data) const {
    if (name_ == "snr") {
      return snr;
    }
    if (name_ == "snr_plus_one") {
      return snr + 1;
    }
    if (name_ == "truncated_snr") {
      return snr.clamp_min(1);
    }
    const Tensor karras = snr + 1 / (sigma_data * sigma_data);
    return name_ == "karras" ? karras : karras.sqrt();
  }

  std::string name_;
};

}  // namespace retort
