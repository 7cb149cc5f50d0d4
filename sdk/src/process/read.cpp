// A process from the table [process].
#include <algorithm>
#include <cmath>
#include <numbers>

#include "curve.h"

namespace retort {

namespace {

constexpr Range open_fraction = {.low = 0, .high = 1, .low_open = true, .high_open = true};

void check_rising(const Params& p, double beta_min, double beta_max) {
  if (beta_min > beta_max) {
    throw p.error("beta_min", "is above beta_max; expected beta_min <= beta_max");
  }
}

CurvePtr read_vp_linear(Params& p) {
  const double low = p.get("beta_min", 0.1, "vp_linear: beta(0), t in [0, 1]", more_than(0));
  const double high = p.get("beta_max", 20.0, "vp_linear: beta(1)", more_than(0));
  check_rising(p, low, high);
  return curves::vp_linear(low, high);
}

CurvePtr read_vp_scaled_linear(Params& p) {
  const double low = p.get("beta_min", 0.00085, "vp_scaled_linear: beta of the first of 1000 steps", open_fraction);
  const double high = p.get("beta_max", 0.012, "vp_scaled_linear: beta of the last step", open_fraction);
  check_rising(p, low, high);
  return curves::vp_scaled_linear(low, high);
}

std::vector<double> linear_betas(double first, double last, int64_t steps) {
  std::vector<double> out;
  for (int64_t i = 0; i < steps; ++i) {
    out.push_back(first + static_cast<double>(i) * (last - first) / static_cast<double>(steps - 1));
  }
  return out;
}

// Nichol & Dhariwal 2021, eq. 17, with betas of at most 0.999.
std::vector<double> cosine_betas(int64_t steps) {
  const auto alpha = [&](int64_t i) {
    return std::cos((static_cast<double>(i) / static_cast<double>(steps) + 0.008) / 1.008 * std::numbers::pi / 2);
  };
  std::vector<double> out;
  for (int64_t i = 0; i < steps; ++i) {
    const double ratio = alpha(i + 1) / alpha(i);
    out.push_back(std::min(1 - ratio * ratio, 0.999));
  }
  return out;
}

struct BetaSchedule {
  std::string name;
  double start, end;
  int64_t steps;

  std::vector<double> betas() const {
    if (name == "squaredcos_cap_v2") {
      return cosine_betas(steps);
    }
    std::vector<double> out =
        name == "linear" ? linear_betas(start, end, steps) : curves::scaled_linear_betas(start, end, steps);
    out.back() = end == 1 ? 1 : out.back();  // rounding must not leave it beside pure noise
    return out;
  }

  Value value() const {
    Value out;
    out["type"] = Value{std::string("betas"), {}};
    out["beta_schedule"] = Value{name, {}};
    if (name != "squaredcos_cap_v2") {
      out["beta_start"] = Value{start, {}};
      out["beta_end"] = Value{end, {}};
    }
    out["num_train_timesteps"] = Value{steps, {}};
    return out;
  }
};

CurvePtr read_betas(Params& p) {
  const BetaSchedule schedule{
      p.choice("beta_schedule", "linear", {"linear", "scaled_linear", "squaredcos_cap_v2"},
               "betas: how they rise over the steps; this key and the next ones are diffusers'"),
      p.get("beta_start", 0.0001, "betas: beta of the first step; not for squaredcos_cap_v2", open_fraction),
      p.get("beta_end", 0.02, "betas: beta of the last step", {.low = 0, .high = 1, .low_open = true}),
      p.get("num_train_timesteps", 1000, "betas: the number of steps T", between(2, 1e6))};
  const std::vector<double> trained = p.get("trained_betas", std::vector<double>{},
                                            "betas: the beta of every step, in place of the keys above; empty: those");
  const bool zero_snr = p.get("rescale_betas_zero_snr", false, "betas: whether alpha is rescaled to end at 0");
  const std::vector<double> betas = trained.empty() ? schedule.betas() : trained;
  if (const std::string fault = curves::fault_of_betas(betas); !fault.empty()) {
    throw p.error(trained.empty() ? "beta_start" : "trained_betas", fault);
  }
  Value value = trained.empty() ? schedule.value() : curves::value_of_betas(trained);
  if (zero_snr) {
    value["rescale_betas_zero_snr"] = Value{true, {}};
  }
  return curves::of_betas(std::move(value), betas, zero_snr);
}

CurvePtr read_alphas_cumprod(Params& p) {
  const std::vector<double> table =
      p.get("alphas_cumprod", std::vector<double>{}, "alphas_cumprod: alpha^2 after each step, falling from below 1");
  if (p.is_describing()) {
    return nullptr;
  }
  if (const std::string fault = curves::fault_of_alphas_cumprod(table); !fault.empty()) {
    throw p.error("alphas_cumprod", fault);
  }
  return curves::of_alphas_cumprod(table);
}

struct Type {
  const char* name;
  CurvePtr (*read)(Params&);
};
const Type types[] = {
    {"ve", [](Params&) { return curves::variance_exploding(); }},
    {"vp_linear", read_vp_linear},
    {"vp_scaled_linear", read_vp_scaled_linear},
    {"vp_cosine", [](Params&) { return curves::vp_cosine(); }},
    {"rectified_flow", [](Params&) { return curves::rectified_flow(); }},
    {"trigonometric", [](Params&) { return curves::trigonometric(); }},
    {"betas", read_betas},
    {"alphas_cumprod", read_alphas_cumprod},
};

}  // namespace

// A key that a process has no use for stays unknown.
CurvePtr curves::read(Params& p) {
  std::vector<std::string> names;
  for (const Type& type : types) {
    names.emplace_back(type.name);
  }
  const std::string name = p.choice(
      "type", "ve", names,
      "ve: alpha = 1, sigma = t; vp_*: alpha^2 + sigma^2 = 1; rectified_flow: alpha = 1 - t, sigma = t; "
      "trigonometric: alpha = cos t, sigma = sin t; betas, alphas_cumprod: a table of DDPM, t counts its steps");
  if (p.is_describing()) {
    read_vp_linear(p);
    read_betas(p);
    read_alphas_cumprod(p);
  }
  return types[std::find(names.begin(), names.end(), name) - names.begin()].read(p);
}

}  // namespace retort
