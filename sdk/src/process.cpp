#include "retort/process.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace retort {

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int scaled_linear_steps = 1000;
constexpr double cosine_offset = 0.008;  // Nichol & Dhariwal 2021, eq. 17
constexpr double cosine_end = 0.9946;    // where alpha is still well above 0, as DPM-Solver stops it (Lu et al. 2022)

const std::vector<std::string> names = {"ve", "vp_linear", "vp_scaled_linear", "vp_cosine", "rectified_flow"};

double cosine_angle(double t) { return (t + cosine_offset) / (1 + cosine_offset) * std::numbers::pi / 2; }

template <class F>
Tensor map(const Tensor& t, F f) {
  const Tensor in = t.to(at::kCPU, at::kDouble).contiguous();
  Tensor out = at::empty_like(in);
  const double* from = in.data_ptr<double>();
  double* to = out.data_ptr<double>();
  for (int64_t i = 0; i < in.numel(); ++i) {
    to[i] = f(from[i]);
  }
  return out;
}

}  // namespace

Process::Process(Params& p) {
  const std::string type = p.choice("type", "ve", names,
                                    "ve: alpha = 1, sigma = t; vp_*: alpha^2 + sigma^2 = 1; rectified_flow: "
                                    "alpha = 1 - t, sigma = t");
  type_ = static_cast<Type>(std::find(names.begin(), names.end(), type) - names.begin());
  // The customary noise of each; a key that a process has no use for stays unknown.
  if (p.is_describing() || type_ == Type::vp_linear) {
    beta_min_ = p.get("beta_min", 0.1, "vp_linear: beta(0), t in [0, 1]", more_than(0));
    beta_max_ = p.get("beta_max", 20.0, "vp_linear: beta(1)", more_than(0));
  } else if (type_ == Type::vp_scaled_linear) {
    beta_min_ = p.get("beta_min", 0.00085, "vp_scaled_linear: beta of the first of 1000 steps",
                      {.low = 0, .high = 1, .low_open = true, .high_open = true});
    beta_max_ = p.get("beta_max", 0.012, "vp_scaled_linear: beta of the last step",
                      {.low = 0, .high = 1, .low_open = true, .high_open = true});
  }
  if (!p.is_describing() && beta_min_ > beta_max_) {
    throw p.error("beta_min", "is above beta_max; expected beta_min <= beta_max");
  }
  if (type_ == Type::vp_scaled_linear) {
    auto betas = std::make_shared<std::vector<double>>();
    auto log_alphas = std::make_shared<std::vector<double>>(1, 0.0);
    for (int i = 0; i < scaled_linear_steps; ++i) {
      const double root =
          std::sqrt(beta_min_) + i * (std::sqrt(beta_max_) - std::sqrt(beta_min_)) / (scaled_linear_steps - 1);
      betas->push_back(root * root);
      log_alphas->push_back(log_alphas->back() + 0.5 * std::log1p(-root * root));
    }
    betas_ = betas;
    log_alphas_ = log_alphas;
  }
}

std::string Process::name() const { return names[static_cast<size_t>(type_)]; }

Value Process::to_value() const {
  Value v;
  v["type"] = Value{name(), {}};
  if (type_ == Type::vp_linear || type_ == Type::vp_scaled_linear) {
    v["beta_min"] = Value{beta_min_, {}};
    v["beta_max"] = Value{beta_max_, {}};
  }
  return v;
}

double Process::log_alpha(double t) const {
  switch (type_) {
    case Type::ve:
      return 0;
    case Type::vp_linear:
      return -0.25 * t * t * (beta_max_ - beta_min_) - 0.5 * t * beta_min_;
    case Type::vp_scaled_linear: {  // between the steps, log alpha is linear in t
      const double clamped = std::clamp(t, 0.0, static_cast<double>(scaled_linear_steps));
      const auto i = std::min(static_cast<size_t>(clamped), static_cast<size_t>(scaled_linear_steps - 1));
      return (*log_alphas_)[i] + (clamped - static_cast<double>(i)) * ((*log_alphas_)[i + 1] - (*log_alphas_)[i]);
    }
    case Type::vp_cosine:
      return std::log(std::cos(cosine_angle(t)) / std::cos(cosine_angle(0)));
    case Type::rectified_flow:
      return std::log1p(-t);
  }
  return 0;
}

double Process::sigma(double t) const {
  if (type_ == Type::ve || type_ == Type::rectified_flow) {
    return t;
  }
  return std::sqrt(std::max(0.0, -std::expm1(2 * log_alpha(t))));
}

double Process::beta(double t) const {
  switch (type_) {
    case Type::vp_linear:
      return beta_min_ + t * (beta_max_ - beta_min_);
    case Type::vp_scaled_linear: {       // the table's own beta, as the discrete formulas use it
      constexpr double rounding = 1e-9;  // of a step that was computed, which is meant to be a whole number
      const double i = std::clamp(std::ceil(t - rounding), 1.0, static_cast<double>(scaled_linear_steps));
      return (*betas_)[static_cast<size_t>(i) - 1];
    }
    case Type::vp_cosine:
      return std::numbers::pi / (1 + cosine_offset) * std::tan(cosine_angle(t));
    default:
      return 0;
  }
}

Tensor Process::alpha(const Tensor& t) const {
  return map(t, [this](double v) { return type_ == Type::rectified_flow ? 1 - v : std::exp(log_alpha(v)); });
}

Tensor Process::sigma(const Tensor& t) const {
  return map(t, [this](double v) { return sigma(v); });
}

Tensor Process::d_alpha(const Tensor& t) const {
  return map(t, [this](double v) {
    if (type_ == Type::ve) {
      return 0.0;
    }
    if (type_ == Type::rectified_flow) {
      return -1.0;
    }
    return -0.5 * beta(v) * std::exp(log_alpha(v));
  });
}

Tensor Process::d_sigma(const Tensor& t) const {
  return map(t, [this](double v) {
    if (type_ == Type::ve || type_ == Type::rectified_flow) {
      return 1.0;
    }
    return 0.5 * beta(v) * std::exp(2 * log_alpha(v)) / sigma(v);
  });
}

Tensor Process::lambda(const Tensor& t) const {
  return map(t, [this](double v) { return log_alpha(v) - std::log(sigma(v)); });
}

double Process::time(double lambda) const {
  const double level = std::exp(-lambda);
  // log alpha = -log1p(level^2) / 2 wherever alpha^2 + sigma^2 = 1
  const double log_alpha =
      level > 1 ? -std::log(level) - 0.5 * std::log1p(1 / (level * level)) : -0.5 * std::log1p(level * level);
  switch (type_) {
    case Type::ve:
      return level;
    case Type::vp_linear: {
      const double delta = beta_max_ - beta_min_;
      const double l = -2 * log_alpha;
      return 2 * l / (std::sqrt(beta_min_ * beta_min_ + 2 * delta * l) + beta_min_);
    }
    case Type::vp_scaled_linear: {
      const auto& table = *log_alphas_;
      if (log_alpha <= table.back()) {
        return scaled_linear_steps;
      }
      const auto above = std::upper_bound(table.begin(), table.end(), log_alpha, std::greater<>());
      const auto i = static_cast<double>(above - table.begin()) - 1;
      const double from = table[static_cast<size_t>(i)];
      return i + (log_alpha - from) / (*above - from);
    }
    case Type::vp_cosine: {
      const double angle = std::acos(std::exp(log_alpha) * std::cos(cosine_angle(0)));
      return angle * 2 / std::numbers::pi * (1 + cosine_offset) - cosine_offset;
    }
    case Type::rectified_flow:
      return std::isinf(level) ? 1.0 : level / (1 + level);
  }
  return 0;
}

Tensor Process::time(const Tensor& lambda) const {
  return map(lambda, [this](double v) { return v == infinity ? 0.0 : time(v); });
}

Tensor Process::noise_level(const Tensor& t) const {
  return map(t, [this](double v) {
    if (type_ == Type::rectified_flow) {
      return v / (1 - v);
    }
    return sigma(v) * std::exp(-log_alpha(v));
  });
}

Tensor Process::time_of_noise_level(const Tensor& level) const {
  return map(level, [this](double v) {
    if (type_ == Type::ve) {
      return v;
    }
    return v == 0 ? 0.0 : time(-std::log(v));
  });
}

double Process::t_max() const {
  switch (type_) {
    case Type::ve:
      return 80;
    case Type::vp_scaled_linear:
      return scaled_linear_steps;
    case Type::vp_cosine:
      return cosine_end;
    default:
      return 1;
  }
}

double Process::least_drift_time() const {
  switch (type_) {
    case Type::vp_scaled_linear:
      return 1;
    case Type::vp_linear:
    case Type::vp_cosine:
      return 1e-5;  // sigma' grows without bound towards t = 0; the customary cut (Song et al. 2021, appendix C)
    default:
      return 0;
  }
}

Tensor Process::add_noise(const Tensor& x0, const Tensor& n, const Tensor& t) const {
  return rows(alpha(t), x0) * x0 + rows(sigma(t), x0) * n;
}

}  // namespace retort
