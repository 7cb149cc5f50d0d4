#include "retort/parametrisation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "retort/fused.h"

namespace retort {

namespace {
const std::vector<std::string> names = {"noise", "v", "data", "edm", "flow"};
constexpr double least_level = 1e-4;  // noise labels stay finite at sigma = 0 and alpha = 0
constexpr double most_level = 1e4;
}  // namespace

Tensor Linear::operator()(const Tensor& x, const Tensor& output) const { return combine({{a, x}, {b, output}}); }

Parametrisation::Parametrisation(Params& p) {
  const std::string name = p.choice("parametrisation", "edm", names, "what the network predicts");
  predicts = static_cast<Predicts>(std::find(names.begin(), names.end(), name) - names.begin());
  sigma_data = p.get("sigma_data", 0.5, "standard deviation of the data, as EDM's scalings use it", more_than(0));
}

std::string Parametrisation::name() const { return names[static_cast<size_t>(predicts)]; }

Linear Parametrisation::to_data(const Process& process, const Tensor& t) const {
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  switch (predicts) {
    case Predicts::noise:
      return {1 / alpha, -sigma / alpha};
    case Predicts::data:
      return {at::zeros_like(alpha), at::ones_like(alpha)};
    case Predicts::v: {
      const Tensor square = alpha * alpha + sigma * sigma;
      return {alpha / square, -sigma / square};
    }
    case Predicts::flow: {
      const Tensor da = process.d_alpha(t);
      const Tensor ds = process.d_sigma(t);
      const Tensor determinant = alpha * ds - da * sigma;
      return {ds / determinant, -sigma / determinant};
    }
    case Predicts::edm: {  // with y = x / alpha and s = sigma / alpha, multiplied out so that alpha may be 0
      const double sd = sigma_data;
      const Tensor square = sigma * sigma + alpha * alpha * (sd * sd);
      return {alpha * (sd * sd) / square, sigma * sd / square.sqrt()};
    }
  }
  throw Error("unknown parametrisation");
}

Linear Parametrisation::to_noise(const Process& process, const Tensor& t) const {
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  switch (predicts) {
    case Predicts::noise:
      return {at::zeros_like(alpha), at::ones_like(alpha)};
    case Predicts::data:
      return {1 / sigma, -alpha / sigma};
    case Predicts::v: {
      const Tensor square = alpha * alpha + sigma * sigma;
      return {sigma / square, alpha / square};
    }
    case Predicts::flow: {
      const Tensor da = process.d_alpha(t);
      const Tensor ds = process.d_sigma(t);
      const Tensor determinant = alpha * ds - da * sigma;
      return {-da / determinant, alpha / determinant};
    }
    case Predicts::edm: {
      const double sd = sigma_data;
      const Tensor square = sigma * sigma + alpha * alpha * (sd * sd);
      return {sigma / square, -alpha * sd / square.sqrt()};
    }
  }
  throw Error("unknown parametrisation");
}

Tensor Parametrisation::target(const Process& process, const Tensor& t, const Tensor& data, const Tensor& noise) const {
  const auto along = [&](const Tensor& of_data, const Tensor& of_noise) {
    return rows(of_data, data) * data + rows(of_noise, data) * noise;
  };
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  switch (predicts) {
    case Predicts::noise:
      return noise;
    case Predicts::data:
      return data;
    case Predicts::v:
      return along(-sigma, alpha);
    case Predicts::flow:
      return along(process.d_alpha(t), process.d_sigma(t));
    case Predicts::edm: {  // F = (x0 - c_skip y) / c_out = (sigma x0 - alpha sd^2 n) / (sd sqrt(sigma^2 + alpha^2
                           // sd^2))
      const double sd = sigma_data;
      const Tensor root = (sigma * sigma + alpha * alpha * (sd * sd)).sqrt() * sd;
      return along(sigma / root, -alpha * (sd * sd) / root);
    }
  }
  throw Error("unknown parametrisation");
}

Tensor Parametrisation::input_scale(const Process& process, const Tensor& t) const {
  const Tensor alpha = process.alpha(t);
  const Tensor sigma = process.sigma(t);
  if (predicts == Predicts::edm) {
    return (sigma * sigma + alpha * alpha * (sigma_data * sigma_data)).rsqrt();
  }
  return process.is_variance_exploding() ? (1 + sigma * sigma).rsqrt() : at::ones_like(alpha);
}

Tensor Parametrisation::noise_label(const Process& process, const Tensor& t) const {
  if (predicts == Predicts::edm || process.is_variance_exploding()) {
    return process.noise_level(t).clamp(least_level, most_level).log() / 4;
  }
  return t / process.t_max();
}

}  // namespace retort
