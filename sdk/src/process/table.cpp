// The curve of a table of steps, as DDPM has it.
#include <algorithm>
#include <cmath>
#include <limits>

#include "curve.h"

namespace retort {

namespace {

constexpr int scaled_linear_steps = 1000;

class Steps final : public VariancePreserving {
 public:
  /// betas: those of step 1, …, T; log_alphas: log alpha at t = 0, 1, …, T.
  Steps(Value value, std::vector<double> betas, std::vector<double> log_alphas)
      : VariancePreserving(std::move(value)), betas_(std::move(betas)), log_alphas_(std::move(log_alphas)) {}
  double t_max() const override { return last(); }
  double least_drift_time() const override { return 1; }
  int64_t steps() const override { return static_cast<int64_t>(betas_.size()); }

  double d_alpha(double t) const override {
    return falls_to_zero(step_at(t)) ? -std::exp(log_alphas_[betas_.size() - 1]) : VariancePreserving::d_alpha(t);
  }
  double d_sigma(double t) const override {
    return falls_to_zero(step_at(t)) ? -alpha(t) * d_alpha(t) / sigma(t) : VariancePreserving::d_sigma(t);
  }

 protected:
  double log_alpha(double t) const override {
    const double clamped = std::clamp(t, 0.0, last());
    const auto i = std::min(static_cast<size_t>(clamped), betas_.size() - 1);
    const double part = clamped - static_cast<double>(i);
    return log_alphas_[i] + (falls_to_zero(i + 1) ? std::log1p(-part) : part * (log_alphas_[i + 1] - log_alphas_[i]));
  }
  // The table's own beta, as the discrete formulas use it.
  double beta(double t) const override { return betas_[step_at(t) - 1]; }
  double time_of_log_alpha(double log_alpha) const override {
    if (log_alpha <= log_alphas_.back()) {
      return last();
    }
    const auto above = std::upper_bound(log_alphas_.begin(), log_alphas_.end(), log_alpha, std::greater<>());
    const auto i = above - log_alphas_.begin() - 1;
    const double from = log_alphas_[static_cast<size_t>(i)];
    const bool to_zero = falls_to_zero(static_cast<size_t>(i) + 1);
    return static_cast<double>(i) + (to_zero ? -std::expm1(log_alpha - from) : (log_alpha - from) / (*above - from));
  }

 private:
  double last() const { return static_cast<double>(betas_.size()); }
  // The step that leads to time t.
  size_t step_at(double t) const {
    constexpr double rounding = 1e-9;  // of a step that was computed, which is meant to be a whole number
    return static_cast<size_t>(std::clamp(std::ceil(t - rounding), 1.0, last()));
  }
  // Where alpha ends at 0, its logarithm cannot fall evenly: over that step alpha itself does.
  bool falls_to_zero(size_t step) const { return std::isinf(log_alphas_[step]); }

  std::vector<double> betas_, log_alphas_;
};

std::vector<double> log_alphas_of(const std::vector<double>& betas) {
  std::vector<double> out(1, 0.0);
  for (const double beta : betas) {
    out.push_back(out.back() + 0.5 * std::log1p(-beta));
  }
  return out;
}

CurvePtr of_log_alphas(Value value, std::vector<double> log_alphas) {
  std::vector<double> betas;
  for (size_t i = 1; i < log_alphas.size(); ++i) {
    betas.push_back(-std::expm1(2 * (log_alphas[i] - log_alphas[i - 1])));
  }
  return std::make_shared<Steps>(std::move(value), std::move(betas), std::move(log_alphas));
}

// alpha is shifted to end at 0, and scaled to begin as before (Lin et al. 2023, algorithm 1):
// (alpha_i - alpha_T) alpha_1 / (alpha_1 - alpha_T), as a sum of logarithms.
void end_at_zero(std::vector<double>& log_alphas) {
  const double last = log_alphas.back();
  const auto kept = [&](double log_alpha) { return -std::expm1(last - log_alpha); };
  const double first_kept = kept(log_alphas[1]);
  for (size_t i = 1; i + 1 < log_alphas.size(); ++i) {
    log_alphas[i] += std::log(kept(log_alphas[i]) / first_kept);
  }
  log_alphas.back() = -std::numeric_limits<double>::infinity();
}

Value list_of(const std::vector<double>& numbers) {
  Array out;
  for (const double number : numbers) {
    out.push_back(Value{number, {}});
  }
  return Value{std::move(out), {}};
}

std::string entry(const std::vector<double>& table, size_t i) {
  return "entry " + std::to_string(i + 1) + " is " + Value{table[i], {}}.text();
}

std::string too_few(const std::vector<double>& table) {
  return table.size() < 2 ? "has " + std::to_string(table.size()) + (table.size() == 1 ? " entry" : " entries") +
                                "; expected one for each step, 2 or more"
                          : "";
}

}  // namespace

std::string curves::fault_of_betas(const std::vector<double>& betas) {
  for (size_t i = 0; i < betas.size(); ++i) {
    const bool is_last = i + 1 == betas.size();
    if (!(betas[i] > 0 && (betas[i] < 1 || (is_last && betas[i] == 1)))) {
      return entry(betas, i) + "; expected betas between 0 and 1, of which the last alone may be 1";
    }
  }
  const std::vector<double> log_alphas = log_alphas_of(betas);
  for (size_t i = 0; i < betas.size(); ++i) {
    if (!(log_alphas[i + 1] < log_alphas[i])) {
      return entry(betas, i) + ", too little to change alpha; expected larger betas";
    }
  }
  return too_few(betas);
}

std::string curves::fault_of_alphas_cumprod(const std::vector<double>& table) {
  double before = 1;
  for (size_t i = 0; i < table.size(); ++i) {
    if (!(table[i] >= 0 && table[i] < before)) {
      return entry(table, i) + "; expected numbers within 0 to 1 that fall strictly, from below 1";
    }
    before = table[i];
  }
  return too_few(table);
}

std::vector<double> curves::scaled_linear_betas(double first, double last, int64_t steps) {
  std::vector<double> out;
  for (int64_t i = 0; i < steps; ++i) {
    const double root = std::sqrt(first) +
                        static_cast<double>(i) * (std::sqrt(last) - std::sqrt(first)) / static_cast<double>(steps - 1);
    out.push_back(root * root);
  }
  return out;
}

Value curves::value_of_betas(const std::vector<double>& betas) {
  Value out;
  out["type"] = Value{std::string("betas"), {}};
  out["trained_betas"] = list_of(betas);
  return out;
}

CurvePtr curves::of_betas(Value value, const std::vector<double>& betas, bool zero_snr) {
  std::vector<double> log_alphas = log_alphas_of(betas);
  if (!zero_snr) {
    return std::make_shared<Steps>(std::move(value), betas, std::move(log_alphas));
  }
  end_at_zero(log_alphas);
  return of_log_alphas(std::move(value), std::move(log_alphas));
}

CurvePtr curves::of_alphas_cumprod(const std::vector<double>& table) {
  Value value;
  value["type"] = Value{std::string("alphas_cumprod"), {}};
  value["alphas_cumprod"] = list_of(table);
  std::vector<double> log_alphas(1, 0.0);
  for (const double square : table) {
    log_alphas.push_back(0.5 * std::log(square));
  }
  return of_log_alphas(std::move(value), std::move(log_alphas));
}

CurvePtr curves::vp_scaled_linear(double beta_min, double beta_max) {
  Value value;
  value["type"] = Value{std::string("vp_scaled_linear"), {}};
  value["beta_min"] = Value{beta_min, {}};
  value["beta_max"] = Value{beta_max, {}};
  return of_betas(std::move(value), scaled_linear_betas(beta_min, beta_max, scaled_linear_steps), false);
}

}  // namespace retort
